"""Several pixels for one cell: an image cut into patches, each the first channels of a cell's state.

A cell that holds one pixel sees red, green and blue. One that holds a patch of p x p pixels sees 3 p^2 values, so that
a small grid, which is quick, still sees fine detail; the patches of a grid are the channels of a space-to-depth
rearrangement (Shi et al. 2016, arXiv 1609.05158, undone), in the order of `torch.pixel_unshuffle`: all values of red
first, row by row.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_patches(images: NDArray[np.float32], patch: int) -> NDArray[np.float32]:
    """[B, 3, H, W] -> [B, 3 p^2, H / p, W / p]; H and W are multiples of `patch`."""
    batch, colors, height, width = images.shape
    parts = images.reshape(batch, colors, height // patch, patch, width // patch, patch)
    by_cell = parts.transpose(0, 1, 3, 5, 2, 4)  # [B, 3, p, p, H / p, W / p]
    return np.ascontiguousarray(by_cell.reshape(batch, colors * patch**2, height // patch, width // patch))


def from_patches(values: NDArray[Any], patch: int) -> NDArray[Any]:
    """The way back, of one image and channels last: [h, w, 3 p^2] -> [h p, w p, 3]."""
    height, width, number = values.shape
    parts = values.reshape(height, width, number // patch**2, patch, patch)
    return parts.transpose(0, 3, 1, 4, 2).reshape(height * patch, width * patch, -1)
