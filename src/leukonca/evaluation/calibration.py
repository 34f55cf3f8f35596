"""Do the probabilities mean what they say: Brier score, expected calibration error, reliability by bin."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Bins of equal width over the probability of the predicted class."""


@dataclass(frozen=True)
class Reliability:
    """What a reliability diagram shows, one value a bin.

    Args:
        edges: ends of the bins, [bins + 1], from 0 to 1.
        count: images whose top probability lies in the bin, int64 [bins].
        confidence: their mean top probability, [bins]; NaN in an empty bin.
        accuracy: the share of them that is right, [bins]; NaN in an empty bin.
    """

    edges: NDArray[np.float64]
    count: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]


def tempered(logits: NDArray[np.floating[Any]], temperature: float) -> NDArray[np.float64]:
    """Probabilities of logits that are divided by a temperature: their softmax, [..., K] -> [..., K]."""
    z = np.asarray(logits, np.float64) / temperature
    odds = np.exp(z - z.max(axis=-1, keepdims=True))
    probabilities: NDArray[np.float64] = odds / odds.sum(axis=-1, keepdims=True)
    return probabilities


def brier_scores(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Squared distance between each image's probabilities and its one-hot truth.

    Args:
        probabilities: [N, K].
        labels: int64 [N].

    Returns:
        [N], each 0 (sure and right) to 2 (sure and wrong); their mean is the multi-class Brier score.

    Source: Brier 1950, doi 10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.
    """
    right = probabilities[np.arange(len(labels)), labels]
    squares: NDArray[np.float64] = np.square(probabilities).sum(axis=1) - 2.0 * right + 1.0
    return np.maximum(squares, 0.0)


def _edges(bins: int) -> NDArray[np.float64]:
    return np.arange(bins + 1) / bins


def confidence_bins(confidence: NDArray[np.float64], bins: int = BINS) -> NDArray[np.int64]:
    """The bin of each top probability: bin b holds those in (b / bins, (b + 1) / bins], and bin 0 also 0."""
    return np.clip(np.searchsorted(_edges(bins), confidence, side="left") - 1, 0, bins - 1)


def calibration_gaps(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], bins: int = BINS
) -> NDArray[np.float64]:
    """Each image's top probability minus 1 if it is right, in its bin's column and 0 in the others.

    The expected calibration error is linear in these but for one absolute value a bin: it is
    ``abs(gaps.sum(axis=0)).sum() / N``, and ``abs(c @ gaps).sum() / c.sum()`` for images counted ``c`` times.

    Args:
        probabilities: [N, K].
        labels: int64 [N].
        bins: number of bins.

    Returns:
        [N, bins].
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    gaps = np.zeros((len(labels), bins))
    gaps[np.arange(len(labels)), confidence_bins(confidence, bins)] = confidence - right
    return gaps


def expected_calibration_error(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], bins: int = BINS
) -> float:
    """Distance between mean top probability and share of right answers, averaged over bins by their images.

    It is biased upwards when bins hold few images, and a bootstrap adds some of that bias again.

    Args:
        probabilities: [N, K].
        labels: int64 [N].
        bins: equal-width bins of the top probability.

    Returns:
        0 (calibrated) to 1.

    Source: Guo et al. 2017 (arXiv 1706.04599), eq. 3.
    """
    return float(np.abs(calibration_gaps(probabilities, labels, bins).sum(axis=0)).sum() / len(labels))


def reliability(probabilities: NDArray[np.float64], labels: NDArray[np.int64], bins: int = BINS) -> Reliability:
    """Count, mean top probability and share of right answers in each bin.

    Args:
        probabilities: [N, K].
        labels: int64 [N].
        bins: equal-width bins of the top probability.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    where = confidence_bins(confidence, bins)
    count = np.bincount(where, minlength=bins)
    divisor = np.where(count > 0, count, np.nan)
    return Reliability(
        edges=_edges(bins),
        count=count,
        confidence=np.bincount(where, weights=confidence, minlength=bins) / divisor,
        accuracy=np.bincount(where, weights=right, minlength=bins) / divisor,
    )
