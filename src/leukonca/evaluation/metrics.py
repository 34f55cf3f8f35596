"""How good predictions are: every score with its 95% interval, beside what no skill at all would reach.

A class without test images has no recall, F1 or AUROC: it is left out of the macro averages, while
predictions into it still count as errors of the class they belong to.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leukonca.errors import DataError
from leukonca.evaluation.calibration import BINS, brier_scores, calibration_gaps
from leukonca.evaluation.intervals import FEWEST, bootstrap_counts, drawn_interval, numbered, share_interval

Floats = NDArray[np.float64]

SUM_TOLERANCE = 1e-3
"""How far from 1 the probabilities of an image may sum."""

_BOUNDS: Mapping[str, tuple[float, float]] = MappingProxyType({"mcc": (-1, 1), "brier": (0, 2)})
"""Scores that are not between 0 and 1."""

_OVER_CLASSES = ("balanced_accuracy", "macro_f1", "macro_auroc")

DEFINITIONS: Mapping[str, str] = MappingProxyType(
    {
        "accuracy": "share of images whose most probable class is the true one",
        "balanced_accuracy": "mean recall over the classes that have test images",
        "macro_f1": "mean F1 over the classes that have test images",
        "mcc": "Matthews correlation coefficient of all classes; 0 is chance, 1 is perfect",
        "macro_auroc": "mean area under the ROC curve, one class against the rest, over the classes that have"
        " test images; 0.5 is chance",
        "brier": "multi-class Brier score: mean squared distance from the truth; 0 (best) to 2",
        "ece": f"expected calibration error: top probability against share right, {BINS} bins of equal width;"
        " biased upwards when images are few",
        "majority_accuracy": "accuracy of always answering the most frequent class of these images",
        "ceiling_accuracy": "share of these images whose class was trained on; accuracy cannot exceed it",
    }
)
"""What each score in the result means, in one line."""


def metrics_with_intervals(
    probabilities: ArrayLike,
    labels: ArrayLike,
    *,
    classes: Sequence[str],
    trained_classes: Collection[str] | None = None,
    patients: Sequence[str] = (),
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Score predictions, each score with a 95% interval.

    Accuracy, recall and precision are shares of images and have Wilson's interval. All other scores have that of a
    percentile bootstrap: a draw is scored as a data set of its own, so a class that it misses is left out of its
    averages. Draws in which a score has no value are left out of that score's interval. Where it is known whose the
    images are, both kinds are of patients (`share_interval`, `bootstrap_counts`).

    Args:
        probabilities: [N, K], finite, at least 0, each row summing to 1 within 1e-3.
        labels: true classes, integers [N], 0 to K - 1.
        classes: K names, in the order of the columns.
        trained_classes: the classes that had training images; None when unknown (no ceiling is given).
        patients: N names, whose each image is; empty: not known. One patient alone gives no intervals, and fewer than
            `leukonca.evaluation.intervals.FEWEST` none to F1 and AUROC of their class, or to a mean over classes with
            such a class.
        draws: bootstrap draws; 0 gives no intervals.
        seed: of the draws; the same input and seed give the same intervals.

    Returns:
        Plain JSON types, no NaN. A score is ``{"value", "low", "high"}``, null where it has no value:
        ``accuracy, balanced_accuracy, macro_f1, mcc, macro_auroc, brier, ece``, and in ``classes`` per name
        ``precision`` (null where nothing is predicted), ``recall, f1, auroc`` beside the counts ``support``
        and ``predicted``. Further ``images``, ``confusion`` (row: truth, column: prediction),
        ``class_names``, ``trained_classes``, ``majority_class``, ``majority_accuracy``, ``ceiling_accuracy``
        (numbers) and ``interval`` (how intervals were made); ``patients``, how many, where they are known.
        `DEFINITIONS` says what the scores mean.

    Raises:
        DataError: input that is no set of predictions; the message names the first bad row.
        UsageError: draws or seed below 0.
    """
    names = [str(name) for name in classes]
    p, y = _checked(probabilities, labels, names, trained_classes)
    if len(patients) not in (0, len(y)):
        raise DataError(f"{len(patients)} patients of {len(y)} predictions; name one for each, or none")
    whose = numbered(patients)
    number = None if whose is None else int(whose.max()) + 1
    draws = 0 if number == 1 else draws
    prepared = _prepare(p, y)
    once = np.ones((len(y), 1), dtype=np.int64)
    point = {name: values[0] for name, values in _scores(prepared, once).items()}
    drawn: dict[str, list[Floats]] = {name: [] for name in point}
    for counts in bootstrap_counts(len(y), draws, seed, whose):
        for name, values in _scores(prepared, counts).items():
            drawn[name].append(values)
    samples = {name: np.concatenate(values) for name, values in drawn.items() if values}

    confusion = prepared.confusion
    support, predicted, answers = confusion.sum(axis=1), confusion.sum(axis=0), p.argmax(axis=1)
    of_class = None if whose is None else np.array([len(np.unique(whose[y == k])) for k in range(len(names))])
    shares: dict[tuple[str, int | None], NDArray[np.bool_]] = {("accuracy", None): np.ones(len(y), dtype=bool)}
    for k in range(len(names)):
        shares["recall", k], shares["precision", k] = y == k, answers == k

    def score(name: str, k: int | None = None) -> dict[str, float | None]:
        column = ... if k is None else k
        value = float(point[name][column])
        ends = None
        if name in samples:
            if (name, k) in shares:
                of = shares[name, k]
                ends = share_interval((answers == y)[of], None if whose is None else whose[of])
            else:
                few = None if of_class is None else int(of_class[k] if k is not None else of_class[support > 0].min())
                lacks = few is not None and few < FEWEST and (k is not None or name in _OVER_CLASSES)
                ends = None if lacks else drawn_interval(samples[name].T[column], number, _BOUNDS.get(name, (0, 1)))
        if not np.isfinite(value):
            return {"value": None, "low": None, "high": None}
        low, high = ends or (None, None)
        return {"value": value, "low": low, "high": high}

    ceiling = None if trained_classes is None else _share(support, [name in trained_classes for name in names])
    return {
        "images": len(y),
        **{name: score(name) for name in point if point[name].ndim == 0},
        "majority_class": names[int(support.argmax())],
        "majority_accuracy": float(support.max() / len(y)),
        "ceiling_accuracy": ceiling,
        "classes": {
            name: {
                "support": int(support[k]),
                "predicted": int(predicted[k]),
                **{each: score(each, k) for each in point if point[each].ndim == 1},
            }
            for k, name in enumerate(names)
        },
        "confusion": confusion.tolist(),
        "class_names": names,
        "trained_classes": None if trained_classes is None else [name for name in names if name in trained_classes],
        **({} if number is None else {"patients": number}),
        "interval": _how(draws, seed, number),
    }


def _how(draws: int, seed: int, patients: int | None) -> str:
    if draws == 0:
        return "none; all images are of one patient" if patients == 1 else "none"
    if patients is None:
        return f"{_SHARES}: Wilson; all others: percentile bootstrap over images, {draws} draws, seed {seed}"
    return (
        f"{_SHARES}: Wilson, with the effective number of images that {patients} patients make; all others: bootstrap "
        f"over patients, {draws} draws, seed {seed}, widened as Student's is; none for a class of fewer than {FEWEST}"
    )


_SHARES = "95%; accuracy, recall, precision"


@dataclass(frozen=True)
class _Prepared:
    """What all draws share: each image's confusion cell and errors, and each class's ranking."""

    classes: int
    confusion: NDArray[np.int64]  # [K, K]
    cell: NDArray[np.int64]  # [N], truth * K + prediction
    brier: Floats  # [N]
    gaps: Floats  # [N, bins]
    rankings: tuple[tuple[int, "_Ranking"], ...]


@dataclass(frozen=True)
class _Ranking:
    """One class against the rest: negatives sorted by score, and how many lie below each positive."""

    positives: NDArray[np.int64]  # [P], image numbers
    negatives: NDArray[np.int64]  # [M], image numbers by rising score
    below: NDArray[np.int64]  # [P], negatives with a lower score
    not_above: NDArray[np.int64]  # [P], negatives with a lower or the same score


def _prepare(probabilities: Floats, labels: NDArray[np.int64]) -> _Prepared:
    classes = probabilities.shape[1]
    cell = labels * classes + probabilities.argmax(axis=1)
    rankings = []
    for k in range(classes):
        positives, rest = np.flatnonzero(labels == k), np.flatnonzero(labels != k)
        if positives.size and rest.size:
            negatives = rest[np.argsort(probabilities[rest, k], kind="stable")]
            ranked, own = probabilities[negatives, k], probabilities[positives, k]
            below, not_above = (np.searchsorted(ranked, own, side=side) for side in ("left", "right"))
            rankings.append((k, _Ranking(positives, negatives, below, not_above)))
    return _Prepared(
        classes=classes,
        confusion=np.bincount(cell, minlength=classes**2).reshape(classes, classes),
        cell=cell,
        brier=brier_scores(probabilities, labels),
        gaps=calibration_gaps(probabilities, labels),
        rankings=tuple(rankings),
    )


def _scores(prepared: _Prepared, counts: NDArray[np.int64]) -> dict[str, Floats]:
    """All scores of some draws: [draws] or [draws, K], NaN where undefined; counts int64 [N, draws]."""
    weights = counts.astype(np.float64)
    images = weights.sum(axis=0)  # a draw; not equal where patients are drawn
    auroc = np.full((len(images), prepared.classes), np.nan)
    for k, ranking in prepared.rankings:
        auroc[:, k] = _auroc(ranking, weights)
    per_class, overall = _from_confusion(_confusions(prepared, weights))
    return {
        **overall,
        "macro_auroc": _mean_of_defined(auroc),
        "brier": prepared.brier @ weights / images,
        "ece": np.abs(prepared.gaps.T @ weights).sum(axis=0) / images,
        **per_class,
        "auroc": auroc,
    }


def _confusions(prepared: _Prepared, weights: Floats) -> Floats:
    """Confusion matrix of every draw, [draws, K, K]."""
    draws, cells = weights.shape[1], prepared.classes**2
    where = prepared.cell[:, None] + cells * np.arange(draws)
    flat = np.bincount(where.ravel(), weights=weights.ravel(), minlength=draws * cells)
    return flat.astype(np.float64).reshape(draws, prepared.classes, prepared.classes)


def _auroc(ranking: _Ranking, weights: Floats) -> Floats:
    """Share of (positive, negative) pairs in the right order, ties half, in every draw: [draws].

    Source: Hanley & McNeil 1982, doi 10.1148/radiology.143.1.7063747 (area as Mann-Whitney statistic).
    """
    negatives = weights[ranking.negatives]  # [M, draws]
    reached = np.zeros((len(negatives) + 1, weights.shape[1]))
    np.cumsum(negatives, axis=0, out=reached[1:])
    positives = weights[ranking.positives]  # [P, draws]
    won = (positives * (reached[ranking.below] + reached[ranking.not_above])).sum(axis=0) / 2.0
    return _divide(won, positives.sum(axis=0) * reached[-1])


def scores_of_confusions(confusions: Floats) -> dict[str, Floats]:
    """The scores of hard answers, of many confusion matrices at once.

    Args:
        confusions: counts, [draws, K, K], truth in rows; at least one image in each.

    Returns:
        ``accuracy, balanced_accuracy, macro_f1, mcc``, each [draws].
    """
    return _from_confusion(confusions)[1]


def _from_confusion(confusion: Floats) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Scores per class, [draws, K], and over all, [draws], from confusion matrices [draws, K, K]."""
    total = confusion.sum(axis=(1, 2))
    truth, predicted = confusion.sum(axis=2), confusion.sum(axis=1)  # [draws, K]
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    absent = truth == 0
    recall = _divide(hits, truth)
    precision = np.where(absent, np.nan, _divide(hits, predicted))
    f1 = np.where(absent, np.nan, _divide(2.0 * hits, truth + predicted))
    per_class = {"precision": precision, "recall": recall, "f1": f1}
    overall = {
        "accuracy": hits.sum(axis=1) / total,
        "balanced_accuracy": _mean_of_defined(recall),
        "macro_f1": _mean_of_defined(f1),
        "mcc": _mcc(hits.sum(axis=1), truth, predicted, total),
    }
    return per_class, overall


def _mcc(right: Floats, truth: Floats, predicted: Floats, total: Floats) -> Floats:
    """Multi-class Matthews correlation, [draws]; 0 when truth or prediction has a single class.

    Source: Gorodkin 2004, doi 10.1016/j.compbiolchem.2004.09.006.
    """
    covariance = right * total - (truth * predicted).sum(axis=1)
    spread = (total**2 - np.square(truth).sum(axis=1)) * (total**2 - np.square(predicted).sum(axis=1))
    return np.where(spread > 0, _divide(covariance, np.sqrt(spread)), 0.0)


def _divide(above: Floats, below: Floats) -> Floats:
    """Quotient, NaN where the divisor is 0."""
    quotient = np.full(np.broadcast(above, below).shape, np.nan)
    np.divide(above, below, out=quotient, where=below > 0)
    return quotient


def _mean_of_defined(values: Floats) -> Floats:
    """Mean over the last axis without NaN; NaN where nothing is left."""
    defined = np.isfinite(values)
    return _divide(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1).astype(np.float64))


def _share(support: NDArray[np.int64], wanted: list[bool]) -> float:
    return float(support[np.array(wanted)].sum() / support.sum())


def _checked(
    probabilities: ArrayLike, labels: ArrayLike, classes: list[str], trained: Collection[str] | None
) -> tuple[Floats, NDArray[np.int64]]:
    try:
        p = np.asarray(probabilities, dtype=np.float64)
        y = np.asarray(labels)
    except (TypeError, ValueError) as error:
        raise DataError(f"predictions and labels must be arrays of numbers ({error})") from error
    if p.ndim != 2 or y.shape != p.shape[:1] or p.shape[1] != len(classes):
        raise DataError(
            f"probabilities {list(p.shape)}, labels {list(y.shape)} and {len(classes)} classes do not fit;"
            " expected [N, K], [N] and K names"
        )
    if len(y) == 0 or not classes:
        raise DataError("no predictions to score: give at least one image and one class")
    if len(set(classes)) != len(classes):
        raise DataError(f"a class name appears twice among {', '.join(classes)}")
    unknown = sorted(set(trained or ()) - set(classes))
    if unknown:
        raise DataError(f"trained classes {', '.join(unknown)} are not among the model's: {', '.join(classes)}")
    if not np.issubdtype(y.dtype, np.integer):
        raise DataError(f"labels are {y.dtype}; expected class numbers (integers)")
    _refuse(~np.isfinite(p).all(axis=1), p, "holds a value that is not finite; the model or its input is damaged")
    _refuse((p < 0).any(axis=1), p, "holds a value below 0; give probabilities, not logits")
    off = np.abs(p.sum(axis=1) - 1.0) > SUM_TOLERANCE
    _refuse(off, p, f"does not sum to 1 within {SUM_TOLERANCE:g}; give probabilities, not logits")
    _refuse((y < 0) | (y >= len(classes)), y, f"is no class number from 0 to {len(classes) - 1}", what="label")
    return p, y.astype(np.int64)


def _refuse(bad: Any, values: NDArray[Any], fact: str, what: str = "prediction") -> None:
    if bad.any():
        row = int(bad.argmax())
        shown = np.array2string(values[row], precision=4, threshold=16)
        raise DataError(f"{what} {row} {fact}: {shown} ({int(bad.sum())} of {len(bad)} such)")
