"""Squares of noise, and how they were made."""

import numpy as np
import torch

from leukonca.data.preprocessing import Preprocessing

EVEN = Preprocessing(grid=24, margin=4, field_um=28.0)
ODD = Preprocessing(grid=25, margin=3)
OFF = {"rotation": False, "flips": False, "shift": 0.0, "scale": 0.0}


def noise(count: int, settings: Preprocessing) -> torch.Tensor:
    shape = (count, settings.side, settings.side, 3)
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
