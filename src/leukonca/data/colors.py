"""Mean and spread of a center's colors: what images are normalised with."""

import numpy as np
from numpy.typing import NDArray

from leukonca.data.cells import Cells
from leukonca.data.preprocessing import centre_view
from leukonca.data.stain import Stretched, stretch
from leukonca.errors import DataError

Color = tuple[float, float, float]
"""Red, green, blue, on the scale 0..1."""

CHUNK = 512
"""Images read at a time."""


def color_statistics(images: NDArray[np.uint8], indices: NDArray[np.int64] | None = None) -> tuple[Color, Color]:
    """Mean and standard deviation of each color over all pixels, exact.

    Args:
        images: uint8 [N, H, W, 3]; may be memory-mapped, it is read in parts.
        indices: which of them count; None: all.

    Returns:
        Mean and standard deviation of red, green, blue, on the scale 0..1.
    """
    chosen = np.arange(len(images)) if indices is None else indices
    histograms = np.zeros((3, 256), dtype=np.int64)
    for start in range(0, len(chosen), CHUNK):
        part = images[chosen[start : start + CHUNK]]
        for color in range(3):
            histograms[color] += np.bincount(part[..., color].ravel(), minlength=256)
    shares = histograms / histograms.sum(axis=1, keepdims=True)
    levels = np.arange(256) / 255
    means = shares @ levels
    deviations = np.sqrt(np.maximum(shares @ levels**2 - means**2, 0))
    (r, g, b), (dr, dg, db) = means.tolist(), deviations.tolist()
    return (r, g, b), (dr, dg, db)


def stretched_statistics(
    images: NDArray[np.uint8], indices: NDArray[np.int64], stain: Stretched
) -> tuple[Color, Color]:
    """The same of images whose colors are stretched, on the scale of `leukonca.data.stain.stretch`.

    Args:
        images: uint8 [N, H, W, 3]; may be memory-mapped, it is read in parts.
        indices: which of them count.
        stain: how they are stretched.
    """
    sums, squares, count = np.zeros(3), np.zeros(3), 0
    for start in range(0, len(indices), CHUNK):
        part = images[indices[start : start + CHUNK]].transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
        values = stretch(part, stain).transpose(1, 0, 2, 3).reshape(3, -1)  # [3, B H W]
        sums += values.sum(axis=1, dtype=np.float64)
        squares += np.square(values, dtype=np.float64).sum(axis=1)
        count += values.shape[1]
    means = sums / count
    (r, g, b), (dr, dg, db) = means.tolist(), np.sqrt(np.maximum(squares / count - means**2, 0)).tolist()
    return (r, g, b), (dr, dg, db)


def cell_colors(cells: Cells, indices: NDArray[np.int64]) -> tuple[Color, Color]:
    """Mean and standard deviation of some cells' colors, over the pixels that the automaton sees, stain as it sees it.

    Raises:
        DataError: a color is the same in all of them, so that they cannot be normalised.
    """
    seen = centre_view(cells.images, cells.preprocessing)
    stain = cells.preprocessing.stain
    mean, std = color_statistics(seen, indices) if stain == "plain" else stretched_statistics(seen, indices, stain)
    if min(std) < 1e-4:
        raise DataError(f"{cells.center}: a color is the same in every image; there is nothing to learn")
    return mean, std
