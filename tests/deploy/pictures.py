"""Random pictures of many sizes for the tests of the predictor."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

Save = Callable[..., Path]
SIZES = [(64, 64), (40, 90), (128, 128), (9, 8), (1, 1), (363, 360)]


def smooth(height: int, width: int, seed: int = 11) -> np.ndarray:
    coarse = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


IMAGES = [smooth(*size, seed) for seed, size in enumerate(SIZES)]
