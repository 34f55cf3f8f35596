"""95% intervals: Wilson's for shares of images, the percentile bootstrap for all other scores.

Images of one patient are alike. Where it is known whose they are, patients are what is sampled, and both kinds of
intervals follow how much patients differ. Public centers do not tell; there every image counts as one of its own.
"""

import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from leukonca.errors import UsageError

LEVEL = 0.95
"""What an interval holds: this share of the draws, or the truth with about this chance."""

FEWEST = 5
"""Patients. Draws of fewer say too little: what needs draws then has no interval."""

_ELEMENTS = 1 << 18
"""Images times draws worked on at once: the batch stays within a processor's cache."""


def numbered(patients: Sequence[str]) -> NDArray[np.int64] | None:
    """The number of each image's patient, 0 to P - 1, int64 [N]; None where no patients are known (an empty list)."""
    if not patients:
        return None
    numbers: NDArray[np.int64] = np.unique(np.asarray(patients, dtype=object).astype(str), return_inverse=True)[1]
    return numbers


def bootstrap_counts(
    images: int, draws: int, seed: int, patients: NDArray[np.int64] | None = None
) -> Iterator[NDArray[np.int64]]:
    """How often each image is in each draw, a few draws at a time.

    Images, or patients with all of their images, are drawn with replacement, as many as there are, without strata:
    classes vary in size from draw to draw, as they would in another sample of patients.

    Args:
        images: number of images N, at least 1.
        draws: number of draws in all; 0 gives nothing.
        seed: the same images, patients, draws and seed give the same counts.
        patients: the number of each image's, see `numbered`; None: not known, images are drawn.

    Yields:
        int64 [N, some draws]; each column sums to N, or, where patients are drawn, to their images.

    Raises:
        UsageError: draws or seed below 0.

    Source: Efron 1979, doi 10.1214/aos/1176344552.
    """
    if draws < 0 or seed < 0:
        raise UsageError(f"draws {draws}, seed {seed}: neither can be below 0")
    generator = np.random.default_rng(seed)
    units = images if patients is None else int(patients.max()) + 1
    at_once = max(1, _ELEMENTS // images)
    for first in range(0, draws, at_once):
        columns = min(at_once, draws - first)
        drawn = generator.integers(0, units, size=(columns, units))
        flat = drawn + units * np.arange(columns)[:, None]
        counts = np.bincount(flat.ravel(), minlength=columns * units).reshape(columns, units)
        yield np.ascontiguousarray(counts.T if patients is None else counts.T[patients])


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


def drawn_interval(
    values: NDArray[np.float64], patients: int | None, bounds: tuple[float, float] = (0, 1)
) -> tuple[float, float] | None:
    """The interval of a statistic's draws, of patients or of images.

    Draws of few patients vary less than samples of them do. Both ends are moved away from the median by the ratio of
    Student's quantile to the normal one, and by sqrt(P / (P - 1)), as a draw's variance is that of all patients.

    Args:
        values: [draws]; see `percentile_interval`.
        patients: how many were drawn from; None: images were.
        bounds: what the statistic cannot leave.

    Returns:
        Low and high end; None where there is none, or of fewer than `FEWEST` patients.
    """
    ends = percentile_interval(values)
    if ends is None or patients is None:
        return ends
    if patients < FEWEST:
        return None
    middle = float(np.nanmedian(values))
    wider = _students(patients) * math.sqrt(patients / (patients - 1))
    low, high = (min(max(middle + wider * (end - middle), bounds[0]), bounds[1]) for end in ends)
    return low, high


def _students(patients: int) -> float:
    """How much longer Student's interval is than the normal one."""
    tail = (1 + LEVEL) / 2
    return float(stdtrit(patients - 1, tail)) / NormalDist().inv_cdf(tail)


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


def share_interval(right: NDArray[np.bool_], patients: NDArray[np.int64] | None = None) -> tuple[float, float] | None:
    """The interval of a share of images: Wilson's, with as many images as those of the patients are worth.

    Patients' shares differ by more than chance of their images. The share's variance over patients (of a ratio,
    linearised) says of how many independent images it would be; that number, at most all images and smaller again for
    few patients, stands in Wilson's formula. Where all or none are right nothing tells how patients differ, and only
    the last is done: such an interval may be too narrow.

    Args:
        right: of each image whether it counts, bool [N].
        patients: the number of each image's, int64 [N]; None: each image counts for itself.

    Returns:
        Low and high end, within 0..1; None where there are no images, or all are of one patient.

    Source: Korn and Graubard 1998 (Survey Methodology 24:193), with Wilson's formula as recommended by Dean and
    Pagano 2015, doi 10.1093/jssam/smv024.
    """
    n, hits = len(right), int(right.sum())
    if patients is None:
        return wilson_interval(hits, n)
    _, whose = np.unique(patients, return_inverse=True)
    found, of_each = np.bincount(whose, weights=right), np.bincount(whose)
    number = len(of_each)
    if number < 2:
        return None
    share = hits / n
    between = number / (number - 1) * float(np.square(found - share * of_each).sum()) / n**2
    within = share * (1 - share) / n
    inflation = max(1.0, between / within) if within > 0 else 1.0
    worth = n / inflation / _students(number) ** 2
    return wilson_interval(share * worth, worth)


def share_score(
    hits: NDArray[np.bool_], of: NDArray[np.bool_] | None = None, patients: NDArray[np.int64] | None = None
) -> dict[str, float | None]:
    """A share of some images, with its interval.

    Args:
        hits: which images count, bool [N].
        of: among which, bool [N]; None: all. Where there are none, there is no value.
        patients: the number of each image's, int64 [N]; None: not known. See `share_interval`.

    Returns:
        ``{"value", "low", "high"}``, plain JSON types.
    """
    among = np.ones(len(hits), dtype=bool) if of is None else of
    counted = hits[among]
    low, high = share_interval(counted, None if patients is None else patients[among]) or (None, None)
    return {"value": float(counted.mean()) if len(counted) else None, "low": low, "high": high}


def wilson_interval(hits: float, of: float) -> tuple[float, float] | None:
    """Wilson's score interval for a share of independent images.

    Unlike a bootstrap, it has a width where all images are right, or none: 0 of 20 is 0 to 16%, not 0 to 0.

    Args:
        hits: how many are right, 0 to `of`.
        of: of how many, at least 0; need not be whole.

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
