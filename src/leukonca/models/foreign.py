"""Reads weights that another program wrote."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from leukonca.errors import ModelError


def read_tensors(path: Path) -> dict[str, NDArray[np.float32]]:
    """A state dict as float32 arrays by name, from a ``torch.save`` or safetensors file; nothing is unpickled.

    Raises:
        ModelError: missing, damaged, or something else than tensors of floating-point numbers.
    """
    if not path.exists():
        raise ModelError(f"{path}: no such file")
    try:
        raw: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except Exception as error:  # a damaged archive or pickle fails in any way it likes
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{path}: no checkpoint of tensors alone ({reason}); nothing was loaded") from error
    if not isinstance(raw, dict) or not all(
        isinstance(value, torch.Tensor)
        and (value.is_floating_point() or (value.dtype == torch.int64 and value.ndim == 0))  # a counter of batches
        and value.layout == torch.strided
        and value.device.type == "cpu"
        for value in raw.values()
    ):
        raise ModelError(f"{path}: not a state dict of tensors of floating-point numbers")
    return {str(name): value.detach().float().numpy() for name, value in raw.items()}
