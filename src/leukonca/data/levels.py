"""Views whose background and nucleus lie elsewhere on the stretched scale than their percentiles say.

A percentile is the background and the nucleus only where enough pixels are. In a cell cut out tightly, with a small
nucleus or between dense red cells, it is something else, and all levels come out higher or lower.
"""

import numpy as np
from numpy.typing import NDArray

from leukonca.data.chance import Seeds, uniform
from leukonca.data.stain import Levels

OFFSET = 0.3
"""Largest offset that red and green share, as a part of the log of their largest common gain."""

OWN_GAIN, OWN_OFFSET = 0.4, 0.5
"""What each color has of its own besides, as a part of what both share."""

_FIRST = 32
"""Of the six slots of chance."""


def levels_of(seeds: Seeds, most: float) -> Levels | None:
    """How each view's stretched scale differs from what its percentiles say; None: not at all.

    Args:
        seeds: int64 [B].
        most: `leukonca.data.augmentation.Augmentation.levels`.
    """
    if most == 0:
        return None
    chance = (2 * uniform(seeds, slots=6, first=_FIRST) - 1).T  # [B, 6]
    gain = np.exp(most * (chance[:, :1] + OWN_GAIN * chance[:, 2:4]))
    offset = OFFSET * most * (chance[:, 1:2] + OWN_OFFSET * chance[:, 4:6])
    return Levels(_single(gain), _single(offset))


def _single(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return values.astype(np.float32)
