"""How well a score tells unusual images from usual ones, with intervals."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukonca.errors import DataError
from leukonca.evaluation.intervals import drawn_interval

ACCEPTED = 95
"""Percent of the usual images that must be accepted where FPR95 is read off."""


def separation(
    usual: NDArray[np.floating[Any]],
    unusual: NDArray[np.floating[Any]],
    *,
    patients: NDArray[np.int64] | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, float | None]]:
    """AUROC and FPR95, each as ``{"value", "low", "high"}`` with the 95% interval of a bootstrap over both sets.

    ``auroc`` is the share of pairs in which the unusual image has the larger score, ties half: 0.5 is chance.
    ``fpr95`` is the share of unusual images that are taken for usual when the threshold accepts 95% of the usual ones,
    rounded up to whole images.

    Args:
        usual: scores, larger means less usual, [N]; infinite ones are allowed.
        unusual: the same of the others, [M].
        patients: the number of each of the others', int64 [M], which are then drawn patient by patient; None: not
            known. See `drawn_interval`.
        draws: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        DataError: a set is empty, or a score is NaN.

    Source: Hanley and McNeil 1982, doi 10.1148/radiology.143.1.7063747; Hendrycks and Gimpel 2017 (arXiv 1610.02136);
    Liang et al. 2018 (arXiv 1706.02690), section 4.2.
    """
    if min(len(usual), len(unusual)) == 0 or np.isnan(usual).any() or np.isnan(unusual).any():
        raise DataError(f"{len(usual)} usual and {len(unusual)} unusual scores: needs some of both, and no NaN")
    ranked = np.sort(usual)
    below, up_to = (np.searchsorted(ranked, unusual, side=side) for side in ("left", "right"))
    generator, (number, others) = np.random.default_rng(seed), (len(usual), len(unusual))
    point = _scores(below, up_to, np.ones(number, np.int64), np.ones(others, np.int64))
    units = others if patients is None else int(patients.max()) + 1
    drawn = np.empty((draws, len(point)))
    for each in drawn:
        first, second = (np.bincount(generator.integers(0, size, size), minlength=size) for size in (number, units))
        each[:] = _scores(below, up_to, first, second if patients is None else second[patients])
    result: dict[str, dict[str, float | None]] = {}
    for name, value, values in zip(("auroc", "fpr95"), point, drawn.T, strict=True):
        low, high = drawn_interval(values, None if patients is None else units) or (None, None)
        result[name] = {"value": value, "low": low, "high": high}
    return result


def _scores(
    below: NDArray[np.int64], up_to: NDArray[np.int64], usual: NDArray[np.int64], unusual: NDArray[np.int64]
) -> tuple[float, float]:
    """AUROC and FPR95 of one draw.

    Args:
        below: how many usual scores, each counted once, are below each unusual one, [M].
        up_to: below or equal, [M].
        usual: how often the draw holds each usual image, in rising order of scores, [N].
        unusual: how often each unusual one, [M].
    """
    reached = np.concatenate([[0], np.cumsum(usual)])
    total = int(reached[-1])
    auroc = float(unusual @ (reached[below] + reached[up_to])) / 2 / total / int(unusual.sum())
    limit = int(np.searchsorted(reached[1:], -(-ACCEPTED * total // 100)))  # place of the threshold among the usual
    return auroc, float(unusual[below <= limit].sum() / unusual.sum())
