"""What a model's doubts are worth on the images of a center: before and after its temperature, with its flags."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukonca.evaluation.calibration import brier_scores, calibration_gaps
from leukonca.evaluation.intervals import bootstrap_counts, drawn_interval, share_score
from leukonca.evaluation.uncertainty import aurc, excess_aurc, log_losses

Floats = NDArray[np.float64]


def certainty(
    before: NDArray[np.floating[Any]],
    after: NDArray[np.floating[Any]],
    labels: NDArray[np.int64],
    flagged: NDArray[np.bool_],
    *,
    patients: NDArray[np.int64] | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Scores of probabilities and flags, each with a 95% interval.

    Shares of images have Wilson's interval, all others that of a percentile bootstrap, over patients where known.

    Args:
        before: probabilities at temperature 1, [N, K].
        after: those that are used, [N, K].
        labels: true classes, int64 [N].
        flagged: `uncertain`, bool [N].
        patients: the number of each image's (`leukonca.evaluation.intervals.numbered`); None: not known. One alone
            gives no intervals.
        draws: of the bootstrap.
        seed: of the draws.

    Returns:
        Plain JSON types; a score is ``{"value", "low", "high"}``, null where it has no value. ``before`` and ``after``
        with ``ece, nll, brier``; ``aurc`` of the largest probability after, ``excess_aurc`` (a number); ``flagged``,
        the share of the images that is; ``accuracy_of_unflagged`` and ``accuracy_of_flagged``.
    """
    p = [np.asarray(each, np.float64) for each in (before, after)]
    right, doubt = p[1].argmax(axis=1) == labels, -p[1].max(axis=1)
    gaps = [calibration_gaps(each, labels) for each in p]
    losses = [log_losses(each, labels) for each in p]
    briers = [brier_scores(each, labels) for each in p]

    def scores(counts: NDArray[np.int64]) -> dict[str, Floats]:
        weights = counts.astype(np.float64)
        images = weights.sum(axis=0)
        found = {"aurc": aurc(doubt, ~right, counts)}
        for name, gap, loss, brier in zip(("before", "after"), gaps, losses, briers, strict=True):
            found[f"{name} ece"] = np.abs(gap.T @ weights).sum(axis=0) / images
            found[f"{name} brier"] = brier @ weights / images
            if np.isfinite(loss).all():
                found[f"{name} nll"] = loss @ weights / images
        return found

    number = None if patients is None else int(patients.max()) + 1
    point = scores(np.ones((len(labels), 1), np.int64))
    drawn: dict[str, list[Floats]] = {name: [] for name in point}
    for counts in bootstrap_counts(len(labels), draws, seed, patients):
        for name, values in scores(counts).items():
            drawn[name].append(values)

    def score(name: str) -> dict[str, float | None]:
        if name not in point:
            return {"value": None, "low": None, "high": None}
        bounds = (0, math.inf) if name.endswith("nll") else (0, 2 if name.endswith("brier") else 1)
        ends = drawn_interval(np.concatenate(drawn[name]), number, bounds) if draws else None
        low, high = ends or (None, None)
        return {"value": float(point[name][0]), "low": low, "high": high}

    return {
        **{part: {name: score(f"{part} {name}") for name in ("ece", "nll", "brier")} for part in ("before", "after")},
        "aurc": score("aurc"),
        "excess_aurc": excess_aurc(doubt, ~right),
        "flagged": share_score(flagged, None, patients),
        "accuracy_of_unflagged": share_score(right, ~flagged, patients),
        "accuracy_of_flagged": share_score(right, flagged, patients),
    }


def by_flag(
    flagged: Sequence[str], right: NDArray[np.bool_], patients: NDArray[np.int64] | None = None
) -> dict[str, dict[str, dict[str, float | None]]]:
    """How many cells have each flag, and how many of these are right.

    Args:
        flagged: of each cell, as `leukonca.evaluation.flags.flags` says, [N].
        right: whether each cell's answer is, bool [N].
        patients: as in `certainty`.

    Returns:
        For ``none``, ``uncertain`` and ``unusual``: ``share`` of the cells and ``accuracy`` of these, with
        intervals as `share_score` gives them; None where there are none.
    """
    told = np.array([flag or "none" for flag in flagged])
    return {
        flag: {
            "share": share_score(told == flag, None, patients),
            "accuracy": share_score(right, told == flag, patients),
        }
        for flag in ("none", "uncertain", "unusual")
    }
