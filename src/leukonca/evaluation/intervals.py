"""95% intervals: Wilson's for shares of images, the percentile bootstrap over images for all other scores."""

import math
from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from leukonca.errors import UsageError

LEVEL = 0.95
"""What an interval holds: this share of the draws, or the truth with about this chance."""

_ELEMENTS = 1 << 18
"""Images times draws worked on at once: the batch stays within a processor's cache."""


def bootstrap_counts(images: int, draws: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """How often each image is in each draw, a few draws at a time.

    Images are drawn with replacement, as many as there are, without strata: classes vary in size from draw
    to draw, as they would in another sample of patients.

    Args:
        images: number of images N, at least 1.
        draws: number of draws in all; 0 gives nothing.
        seed: the same images, draws and seed give the same counts.

    Yields:
        int64 [N, some draws]; each column sums to N.

    Raises:
        UsageError: draws or seed below 0.

    Source: Efron 1979, doi 10.1214/aos/1176344552.
    """
    if draws < 0 or seed < 0:
        raise UsageError(f"draws {draws}, seed {seed}: neither can be below 0")
    generator = np.random.default_rng(seed)
    at_once = max(1, _ELEMENTS // images)
    for first in range(0, draws, at_once):
        columns = min(at_once, draws - first)
        drawn = generator.integers(0, images, size=(columns, images))
        flat = drawn + images * np.arange(columns)[:, None]
        counts = np.bincount(flat.ravel(), minlength=columns * images).reshape(columns, images)
        yield np.ascontiguousarray(counts.T)


def percentile_interval(values: NDArray[np.float64]) -> tuple[float, float] | None:
    """The middle 95% of a statistic's draws.

    Args:
        values: [draws]; draws in which the statistic has no value are NaN and left out.

    Returns:
        Low and high end; None when no draw has a value.
    """
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return None
    low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def mean_interval(values: NDArray[np.float64], *, draws: int = 1000, seed: int = 0) -> tuple[float, float] | None:
    """The middle 95% of the means of bootstrap draws.

    Args:
        values: one an image, [N].
        draws: of the bootstrap.
        seed: of the draws; equal seeds draw the same images, so that two scores of the same images may be subtracted.

    Returns:
        Low and high end; None where there are no values.
    """
    values = np.asarray(values, np.float64)
    if values.size == 0:
        return None
    means = [values @ counts / len(values) for counts in bootstrap_counts(len(values), draws, seed)]
    return percentile_interval(np.concatenate(means))


def wilson_interval(hits: int, of: int) -> tuple[float, float] | None:
    """Wilson's score interval for a share of independent images.

    Unlike a bootstrap, it has a width where all images are right, or none: 0 of 20 is 0 to 16%, not 0 to 0.

    Args:
        hits: how many are right, 0 to `of`.
        of: of how many.

    Returns:
        Low and high end, within 0..1; None where there are no images.

    Source: Wilson 1927, doi 10.1080/01621459.1927.10502953; recommended for any n by Brown, Cai and DasGupta 2001,
    doi 10.1214/ss/1009213286.
    """
    if of == 0:
        return None
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    middle = (hits + z**2 / 2) / (of + z**2)
    half = z / (of + z**2) * math.sqrt(hits * (of - hits) / of + z**2 / 4)
    # At its ends the formula is exactly 0 or 1, but for rounding.
    return 0.0 if hits == 0 else middle - half, 1.0 if hits == of else middle + half
