"""Reads a checkpoint of the paper's authors."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leukonca.data.preprocessing import Preprocessing
from leukonca.errors import ModelError, UsageError
from leukonca.models.classifier import class_names
from leukonca.models.config import ModelConfig
from leukonca.models.foreign import read_tensors
from leukonca.models.nca import NCAClassifier, automaton
from leukonca.models.presets import preset

NAMES = ("p0", "p1", "fc0", "fc1", "fc2", "fc3")
"""Their layers; each has a weight and, but for fc1, a bias."""


def import_wbc_nca(path: str | Path, engine: str = "auto") -> NCAClassifier:
    """Turn a state dict of github.com/marrlab/WBC-NCA into a model of preset `paper`.

    Their code swaps height and width before it convolves, so the last two axes of both kernels are swapped here.
    Only tensors are loaded; a file that holds anything else is refused. A checkpoint says nothing of the colors
    it was trained with: set ``model.config``'s mean and std before predicting from image files.

    Args:
        path: a ``torch.save`` or safetensors file of the state dict; channels, hidden width and number of classes
            follow from its shapes.
        engine: see `NCAClassifier`.

    Raises:
        ModelError: missing, damaged, not a state dict, or of another architecture.
        UsageError: there is no such engine.
    """
    path = Path(path)
    arrays = read_tensors(path)
    channels, hidden, classes = _check_shapes(path, arrays)
    theirs = automaton(preset("paper"))
    try:
        config = ModelConfig(
            architecture=replace(theirs, channels=channels, hidden=hidden),
            classes=class_names(classes, None),
            preprocessing=Preprocessing(grid=theirs.grid),
        )
    except UsageError as error:
        raise ModelError(f"{path}: {error}") from error
    kernels = [arrays[f"{layer}.weight"][:, 0].swapaxes(-1, -2) for layer in ("p0", "p1")]  # [C, 3, 3] each
    weights = {
        "kernels": np.stack(kernels),  # [2, C, 3, 3]
        "kernel_bias": np.stack([arrays["p0.bias"], arrays["p1.bias"]]),
        "hidden_weight": arrays["fc0.weight"],
        "hidden_bias": arrays["fc0.bias"],
        "update_weight": arrays["fc1.weight"],
        "head.0.weight": arrays["fc2.weight"],
        "head.0.bias": arrays["fc2.bias"],
        "head.2.weight": arrays["fc3.weight"],
        "head.2.bias": arrays["fc3.bias"],
    }
    try:
        return NCAClassifier.from_weights(config, weights, engine=engine)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def _check_shapes(path: Path, arrays: dict[str, NDArray[np.float32]]) -> tuple[int, int, int]:
    """Channels, hidden width and classes of a state dict whose names and shapes fit together."""
    wanted = {f"{layer}.{part}" for layer in NAMES for part in ("weight", "bias")} - {"fc1.bias"}
    if arrays.keys() != wanted:
        missing, unknown = sorted(wanted - arrays.keys()), sorted(arrays.keys() - wanted)
        raise ModelError(
            f"{path}: not a WBC-NCA state dict: missing {', '.join(missing) or 'none'}; "
            f"unknown {', '.join(unknown) or 'none'}"
        )
    for name in ("fc1.weight", "fc3.weight"):
        if arrays[name].ndim != 2 or 0 in arrays[name].shape:
            raise ModelError(f"{path}: {name} has shape {arrays[name].shape}; expected a matrix")
    (n, h), classes = arrays["fc1.weight"].shape, len(arrays["fc3.weight"])
    shapes: dict[str, tuple[int, ...]] = {
        "p0.weight": (n, 1, 3, 3),
        "p0.bias": (n,),
        "p1.weight": (n, 1, 3, 3),
        "p1.bias": (n,),
        "fc0.weight": (h, 3 * n),
        "fc0.bias": (h,),
        "fc2.weight": (h, n),
        "fc2.bias": (h,),
        "fc3.weight": (classes, h),
        "fc3.bias": (classes,),
    }
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise ModelError(
                f"{path}: {name} has shape {arrays[name].shape}; {n} channels, {h} hidden and {classes} classes "
                f"need {shape}"
            )
    return n, h, classes
