"""From the squares of an image to the numbers that a model is given, without torch."""

import numpy as np
from numpy.typing import NDArray

from leukonca.data.stain import stained
from leukonca.models.config import ModelConfig


def inputs_of(squares: NDArray[np.uint8], config: ModelConfig) -> NDArray[np.float32]:
    """Stain and colors normalised as in training.

    Args:
        squares: uint8 [B, grid, grid, 3], see `leukonca.data.preprocessing`.
        config: of the model.

    Returns:
        float32 [B, 3, grid, grid].

    Raises:
        ModelError: the model was never fitted to a center.
    """
    mean, std = (np.array(color, np.float32)[:, None, None] for color in config.normalisation())
    images = np.ascontiguousarray(squares.transpose(0, 3, 1, 2), np.float32) / np.float32(255)
    inputs: NDArray[np.float32] = (stained(images, config.preprocessing.stain) - mean) / std
    return inputs
