"""Where in the image channels look, and how much of that lies inside the cell. NumPy alone."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukonca.errors import UsageError

Floats = NDArray[np.floating[Any]]

QUANTILE = 0.98
"""Of a channel's values over all cells: those above are what the channel looks at (Deutges et al. 2024, section 3)."""

REGIONS = {"nucleus": 255, "cytoplasm": 128, "background": 0}
"""What the values of a mask mean."""


def region(values: Floats, quantile: float = QUANTILE) -> NDArray[np.bool_]:
    """Cells whose value lies above the quantile, and the largest in any case; none where all values are equal.

    Args:
        values: of one channel, [H, W].
        quantile: in [0, 1).

    Raises:
        UsageError: no such quantile.
    """
    if not 0 <= quantile < 1:
        raise UsageError(f"quantile {quantile}: must be at least 0 and below 1")
    top = values.max()
    found: NDArray[np.bool_] = (values > np.quantile(values, quantile)) | (values == top)
    return found if values.min() < top else np.zeros(values.shape, dtype=bool)


def heat_map(state: Floats, relevance: Floats, quantile: float = QUANTILE) -> NDArray[np.float32]:
    """One map of where the channels look, weighted by their relevance.

    Every channel's relevance is laid on its `region`, in proportion to how far the values stand above the quantile.
    So the map adds up to the relevance of all channels that are not flat.

    Args:
        state: the last one, [H, W, C].
        relevance: of the channels, [C].
        quantile: see `region`.

    Returns:
        float32 [H, W], signed.

    Raises:
        UsageError: shapes that do not fit, or no such quantile.
    """
    height, width, channels = state.shape
    if relevance.shape != (channels,):
        raise UsageError(f"relevance of shape {relevance.shape} for a state of {channels} channels")
    heat = np.zeros((height, width))
    for c in np.flatnonzero(relevance):
        values = state[:, :, c].astype(np.float64)
        inside = region(values, quantile)
        above = np.where(inside, values - np.quantile(values, quantile), 0)
        weight = above if above.sum() > 0 else inside.astype(np.float64)  # as many equal largest as the region is wide
        if inside.any():
            heat += float(relevance[c]) * weight / weight.sum()
    return heat.astype(np.float32)


def shares_by_region(relevance: Floats, mask: NDArray[np.uint8]) -> dict[str, float]:
    """Share of a map that lies on nucleus, cytoplasm and background, counted by size, whatever its sign.

    Args:
        relevance: [H, W], or [H, W, 3] of red, green and blue, which are added up first.
        mask: uint8 [H, W], see `REGIONS`.

    Returns:
        Shares that add up to 1, by the names of `REGIONS`; of an empty map all 0.

    Raises:
        UsageError: shapes that do not fit.
    """
    size = np.abs(relevance if relevance.ndim == 2 else relevance.sum(axis=2)).astype(np.float64)
    if size.shape != mask.shape:
        raise UsageError(f"a map of {size.shape} and a mask of {mask.shape} cells do not fit")
    total = size.sum()
    return {name: float(size[mask == value].sum() / total) if total else 0.0 for name, value in REGIONS.items()}
