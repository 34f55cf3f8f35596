"""How sure several runs are together, and what it is worth to send the least sure cells to a person."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Ensemble:
    """What T runs say together about N images; entropies in nats.

    Args:
        mean: mean probabilities over the runs, [N, K].
        total: entropy of that mean, [N].
        expected: mean of the runs' own entropies, [N]: doubt that every run has (aleatoric).
        mutual: total - expected, [N], 0 to log min(T, K): what the runs disagree about (epistemic).
    """

    mean: Floats
    total: Floats
    expected: Floats
    mutual: Floats


def entropy(probabilities: NDArray[np.floating]) -> Floats:
    """- sum p log p over the last axis, in nats, with 0 log 0 = 0: [..., K] -> [...]."""
    p = np.asarray(probabilities, np.float64)
    result: Floats = -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=-1)
    return np.maximum(result, 0.0)


def decompose(runs: NDArray[np.floating]) -> Ensemble:
    """Total entropy = expected entropy + mutual information between the answer and which run gave it.

    Args:
        runs: probabilities of each run, [T, N, K].

    Source: Houlsby et al. 2011 (arXiv 1112.5745), eq. 2; as two kinds of uncertainty Depeweg et al. 2018
    (arXiv 1710.07283). By Jensen's inequality no part is negative; what rounding leaves below 0 is set to 0.
    """
    p = np.asarray(runs, np.float64)
    mean = p.mean(axis=0)
    total, expected = entropy(mean), entropy(p).mean(axis=0)
    return Ensemble(mean, total, expected, np.maximum(total - expected, 0.0))


def risk_coverage(doubt: NDArray[np.floating], wrong: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Share of errors among the least doubtful images, for every number of them.

    Images of equal doubt come in no order: the risk is its mean over all orders.

    Args:
        doubt: of each image, [N], the larger the less sure; infinite is allowed.
        wrong: bool [N].

    Returns:
        Coverage 1/N, 2/N, ..., 1, and the risk at each, [N].

    Source: El-Yaniv & Wiener 2010 (JMLR 11:1605).
    """
    order, starts = _tie_groups(doubt)
    sizes = np.diff(np.append(starts, len(order)))
    share = np.add.reduceat(wrong[order].astype(np.float64), starts) / sizes
    accepted = np.arange(1, len(order) + 1)
    return accepted / len(order), np.cumsum(np.repeat(share, sizes)) / accepted


def aurc(doubt: NDArray[np.floating], wrong: NDArray[np.bool_], counts: NDArray[np.int64] | None = None) -> Floats:
    """Area under the risk-coverage curve: the mean of its risks; 0 is best, the share of errors is what chance gives.

    Args:
        doubt: see `risk_coverage`.
        wrong: see `risk_coverage`.
        counts: how often each image is in each draw of a bootstrap, int64 [N, draws]; None: once, in one draw.

    Returns:
        [draws]. Copies of an image are equally doubtful.

    Source: Geifman, Uziel & El-Yaniv 2019 (arXiv 1805.08206), section 3.
    """
    order, starts = _tie_groups(doubt)
    times = np.ones((len(order), 1)) if counts is None else counts[order].astype(np.float64)  # [N, draws]
    errors = np.add.reduceat(times * wrong[order, None], starts)  # [groups, draws]
    sizes = np.add.reduceat(times, starts)
    n = np.cumsum(sizes, axis=0) - sizes  # accepted before the group
    e = np.cumsum(errors, axis=0) - errors
    share = np.divide(errors, sizes, out=np.zeros_like(errors), where=sizes > 0)
    # The j-th of a group adds (e + j share) / (n + j) = share + (e - n share) / (n + j).
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, int((n[-1] + sizes[-1]).max()) + 1))])
    span = harmonic[(n + sizes).astype(np.int64)] - harmonic[n.astype(np.int64)]
    area: Floats = (errors + (e - n * share) * span).sum(axis=0) / (n[-1] + sizes[-1])
    return area


def excess_aurc(doubt: NDArray[np.floating], wrong: NDArray[np.bool_]) -> float:
    """AURC less that of a perfect order, which puts all errors last: what the order alone costs.

    Source: Geifman, Uziel & El-Yaniv 2019 (arXiv 1805.08206), eq. 5, with their integral as the exact sum.
    """
    return float(aurc(doubt, wrong)[0] - aurc(wrong.astype(np.float64), wrong)[0])


def log_losses(probabilities: NDArray[np.floating], labels: NDArray[np.int64]) -> Floats:
    """- log of the probability of each true class, nats, [N]; infinite where that is 0. Their mean is the NLL."""
    right = np.asarray(probabilities, np.float64)[np.arange(len(labels)), labels]
    return -np.log(right, out=np.full(len(right), -math.inf), where=right > 0)


def _tie_groups(doubt: NDArray[np.floating]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Images by rising doubt, [N], and where each run of equal doubts begins in that order."""
    order = np.argsort(doubt, kind="stable")
    ranked = doubt[order]
    starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
    return order, starts
