"""Reads a checkpoint of the paper's authors."""

import pickle
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from leukonca.errors import ModelError
from leukonca.models.nca import NCAClassifier


def import_wbc_nca(path: str | Path, engine: str = "auto") -> NCAClassifier:
    """Turn a state dict of github.com/marrlab/WBC-NCA into a model of preset `paper`.

    Their code swaps height and width before it convolves, so the last two axes of both kernels are swapped here.
    Only tensors are loaded; a file that holds anything else is refused. A checkpoint says nothing of the colours
    it was trained with: set ``model.config``'s mean and std before predicting from image files.

    Args:
        path: a ``torch.save`` or safetensors file of the state dict.
        engine: see `NCAClassifier`.

    Raises:
        ModelError: missing, damaged, not a state dict, or of another architecture.
    """
    path = Path(path)
    tensors = _read(path)
    try:
        fc0, fc1, fc3 = (tensors[f"{name}.weight"] for name in ("fc0", "fc1", "fc3"))
        channels, hidden, classes = fc1.shape[0], fc0.shape[0], fc3.shape[0]
        model = NCAClassifier(preset="paper", channels=channels, hidden=hidden, num_classes=classes, engine=engine)
        kernels = torch.stack([tensors[f"p{i}.weight"][:, 0].transpose(-1, -2) for i in (0, 1)])
        renamed = {
            "kernels": kernels,
            "kernel_bias": torch.stack([tensors["p0.bias"], tensors["p1.bias"]]),
            "hidden_weight": fc0,
            "hidden_bias": tensors["fc0.bias"],
            "update_weight": fc1,
            "head.0.weight": tensors["fc2.weight"],
            "head.0.bias": tensors["fc2.bias"],
            "head.2.weight": fc3,
            "head.2.bias": tensors["fc3.bias"],
        }
    except (KeyError, IndexError, RuntimeError, ValueError) as error:
        raise ModelError(f"{path}: not a WBC-NCA state dict ({error}); it holds {sorted(tensors)}") from error
    arrays = {name: np.ascontiguousarray(value.float().numpy()) for name, value in renamed.items()}
    return NCAClassifier.from_weights(model.config, arrays, engine=engine)


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        raw: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such file") from error
    except (
        OSError,
        RuntimeError,
        EOFError,
        ValueError,
        pickle.UnpicklingError,
        BadZipFile,
        SafetensorError,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{path}: no checkpoint of tensors alone ({reason}); nothing was loaded") from error
    if not isinstance(raw, dict) or not all(isinstance(value, torch.Tensor) for value in raw.values()):
        raise ModelError(f"{path}: not a state dict of tensors")
    return raw
