"""What lies around a cell where the image ends."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from leukonca.data.stain import LOW

Beyond = Literal["reflection", "background"]
"""How an image goes on beyond its edges: mirrored, or in one flat color, that of its own background."""


def background_color(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The color of bare glass, as far as an image shows any: in red, green and blue, what one pixel in twenty exceeds.

    It is the end of the scale that `leukonca.data.stain.stretch` sets to 0.

    Args:
        pixels: uint8 [..., 3], at least one.

    Returns:
        uint8 [3].
    """
    palest: NDArray[np.float64] = np.quantile(pixels.reshape(-1, 3), 1 - LOW, axis=0)
    return np.rint(palest).astype(np.uint8)
