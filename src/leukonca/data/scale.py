"""How large is the cell: the physical scale of an image that nobody knows, guessed from its nucleus."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIDE = 96
"""Images are worked on with this shorter side."""

_CENTRAL = 0.25
"""Distance from the middle, as a share of the side, at which a dark part counts 1 / e of one in the middle."""

_PART = 0.25
"""Parts that count at least so much of the main one are lobes of the same nucleus."""


def nucleus_share(image: NDArray[np.uint8]) -> float | None:
    """Diameter of a disk as large as the nucleus in the middle, as a share of the image's shorter side.

    Nuclei take up red light and red cells hardly do, so the denser of two classes of the red channel (Otsu) is taken:
    the connected part with most pixels near the middle, and its lobes.

    Args:
        image: uint8 [H, W, 3].

    Returns:
        Above 0 and below 1.2; None: nothing stands out, or it fills the image.
    """
    from scipy import ndimage  # these two take long to import: only images of unknown scale need them
    from skimage.filters import threshold_otsu

    height, width = image.shape[:2]
    factor = _SIDE / min(height, width)
    size = max(_SIDE, round(width * factor)), max(_SIDE, round(height * factor))
    red = np.asarray(Image.fromarray(image[:, :, 0]).resize(size, Image.Resampling.BILINEAR), np.float64)
    density = ndimage.gaussian_filter(-np.log(np.maximum(red, 1) / 255), 1.0)
    if np.ptp(density) < 0.05:
        return None
    parts, count = ndimage.label(density > threshold_otsu(density))
    if count == 0:
        return None
    y, x = np.ogrid[: size[1], : size[0]]
    away = np.hypot(y - (size[1] - 1) / 2, x - (size[0] - 1) / 2) / _SIDE
    weights = ndimage.sum_labels(np.exp(-((away / _CENTRAL) ** 2)), parts, np.arange(1, count + 1))
    nucleus = np.isin(parts, 1 + np.flatnonzero(weights >= _PART * weights.max()))
    if nucleus.mean() > 0.9:
        return None
    return float(np.sqrt(nucleus.sum() * 4 / np.pi) / _SIDE)
