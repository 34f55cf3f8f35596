"""Where the cell is, from its stain alone: a simple guess for images that come without a mask."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.filters import sobel, threshold_multiotsu
from skimage.measure import label, regionprops
from skimage.morphology import convex_hull_image, disk
from skimage.segmentation import watershed

from leukonca.errors import DataError

_SIDE = 128
"""Images are worked on at this size, longer side."""

_LOBES_APART = 1.3
"""Dark parts this many nuclear radii from the nearest part of the main one still belong to the nucleus."""

_REACH = 1.0
"""Cytoplasm reaches so many nuclear radii beyond the nucleus at most."""


def segment(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Guess nucleus and cytoplasm of the white blood cell in the middle.

    Chromatin takes up green light most, so the darkest of three classes of the green channel (Otsu) is taken for
    nucleus: the part nearest to the middle, and lobes near it. Cytoplasm is what a watershed on the edges of the
    picture adds to the nucleus before it meets bright background or is too far away.

    Args:
        image: uint8 [H, W, 3].

    Returns:
        uint8 [H, W]: 255 nucleus, 128 cytoplasm, 0 the rest.

    Raises:
        DataError: nothing dark enough, or no contrast at all.
    """
    height, width = image.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    size = max(8, round(width * scale)), max(8, round(height * scale))
    small = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX), np.float64)
    green = ndimage.gaussian_filter(small[:, :, 1], 1.0)
    try:
        dark, bright = threshold_multiotsu(green, classes=3)
    except ValueError as error:
        raise DataError("no cell found: the picture has hardly any contrast") from error
    nucleus = _central(green <= dark)
    radius = float(np.sqrt(nucleus.sum() / np.pi))
    away = ndimage.distance_transform_edt(~nucleus)
    markers = np.zeros(green.shape, np.int32)
    markers[(green > bright) | (away > _REACH * radius)] = 2
    markers[convex_hull_image(nucleus)] = 1
    cell = watershed(sobel(green), markers) == 1
    cell = ndimage.binary_fill_holes(ndimage.binary_opening(cell, disk(2)) | nucleus)
    mask = np.where(nucleus, 255, np.where(cell, 128, 0)).astype(np.uint8)
    return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))


def _central(dark: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The dark part nearest to the middle, weighed by its size, and the parts around it."""
    parts = label(ndimage.binary_opening(dark, disk(1)))
    found = regionprops(parts)
    if not found:
        raise DataError("no cell found: nothing in the picture is dark enough for a nucleus")
    middle = (np.array(dark.shape) - 1) / 2
    main = max(found, key=lambda part: _weight(part, middle))
    radius = float(np.sqrt(main.area / np.pi))
    away = ndimage.distance_transform_edt(parts != main.label)
    near = [part.label for part in found if away[parts == part.label].min() <= _LOBES_APART * radius / 2]
    whole: NDArray[np.bool_] = ndimage.binary_fill_holes(np.isin(parts, near))
    return whole


def _weight(part: Any, middle: NDArray[np.float64]) -> float:
    distance = np.linalg.norm((np.array(part.centroid) - middle) / middle)
    return float(part.area * np.exp(-4 * distance**2))
