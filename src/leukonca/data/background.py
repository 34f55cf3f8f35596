"""What lies around a cell where the image ends."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from leukonca.data.stain import LOW

Beyond = Literal["reflection", "background"]
"""How an image goes on beyond its edges: mirrored, or in one flat color, that of its own background."""


def background_color(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The color of bare glass, as far as an image shows any: red, green and blue that one pixel in twenty exceeds.

    They are the end of the scale that `leukonca.data.stain.stretch` sets to 0.

    Args:
        pixels: uint8 [..., 3], at least one.

    Returns:
        uint8 [3].
    """
    flat = pixels.reshape(-1, 3)
    counts = (np.bincount(color, minlength=256).cumsum() for color in flat.T)  # of pixels up to each of 256 levels
    return np.array([np.searchsorted(up_to, (1 - LOW) * len(flat)) for up_to in counts], np.uint8)
