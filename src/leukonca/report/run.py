"""A model's evaluation as one HTML page that needs nothing beside it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukonca.drawing import svg_uri
from leukonca.evaluation.calibration import reliability
from leukonca.evaluation.metrics import DEFINITIONS
from leukonca.evaluation.uncertainty import risk_coverage
from leukonca.files import write_text
from leukonca.report import figures, words
from leukonca.report.cells import choose_cells
from leukonca.report.content import RESEARCH_NOTE, SYNTHETIC_NOTE, CenterResult, RunReport
from leukonca.report.robustness import robustness_figure, robustness_rows
from leukonca.report.templating import templates

_MOST_CELLS = 24
"""Wrong cells shown of one center."""

_ALL_CELLS = 96
"""Wrong cells shown of all centers together: keeps a report of many centers small enough to mail."""

_PICTURE_BYTES = 750_000
"""Of the pictures of cells of all centers together, before they grow by a third as text."""

_CONFUSIONS = 6
"""Most frequent mix-ups named of each center."""


def write_run_report(path: Path, report: RunReport) -> None:
    """Write the page: one file, no script, nothing loaded from anywhere, whole or not at all.

    Args:
        path: the HTML file to be.
        report: what to show; every text in it is escaped.

    Raises:
        UsageError: the folder cannot be written to.
        DataError: the disk is full; an existing file is untouched.
    """
    page = (
        templates()
        .get_template("run.html")
        .render(
            report=report,
            research_note=RESEARCH_NOTE,
            synthetic_note=SYNTHETIC_NOTE,
            centers=[_center(result, len(report.results)) for result in report.results],
            score_kinds=words.SCORES,
            class_score_kinds=words.CLASS_SCORES,
            definitions=DEFINITIONS,
            intervals=sorted({result.metrics["interval"] for result in report.results} - {"none"}),
            scores_picture=_scores_picture(report),
            learning=_learning(report),
            recipe=list(words.settings(report.recipe)),
            repeat=report.repeat or (report.command,),
        )
    )
    # A file name that is no valid text (lone surrogates) must not cost the report.
    write_text(path, page.encode("utf-8", "replace").decode("utf-8"))


def _center(result: CenterResult, centers: int) -> dict[str, Any]:
    metrics = result.metrics
    names = metrics["class_names"]
    confusion = np.array(metrics["confusion"], dtype=np.int64)
    rows = np.flatnonzero(confusion.sum(axis=1)).tolist()
    columns = np.flatnonzero(confusion.sum(axis=0) + confusion.sum(axis=1)).tolist()
    bins = reliability(np.asarray(result.probabilities, dtype=np.float64), np.asarray(result.labels, dtype=np.int64))
    mix_ups = list(_mix_ups(confusion, names))
    trained = metrics["trained_classes"]
    untrained = {k for k, name in enumerate(names) if trained is not None and name not in trained}
    return {
        "name": result.name,
        "note": result.note,
        "metrics": metrics,
        "verdict": words.verdict(metrics),
        "began": words.began(metrics.get("began_as")),
        "level": words.level(metrics),
        "scores": _scores(metrics, words.SCORES),
        "classes": [_class_row(name, metrics, k in untrained) for k, name in enumerate(names)],
        "confusion": {
            "picture": figures.confusion_picture(confusion, rows, columns, names, untrained),
            "columns": [names[k] for k in columns],
            "rows": [(names[i], i in untrained, [int(confusion[i, j]) for j in columns]) for i in rows],
        },
        "mix_ups": mix_ups,
        "reliability": figures.reliability_picture(bins),
        "certainty": _certainty(result),
        "unusual": _unusual(metrics.get("unusual")),
        "robustness": _robustness(metrics.get("robustness")),
        "cells": choose_cells(
            result,
            most=max(6, min(_MOST_CELLS, _ALL_CELLS // centers)),
            most_bytes=_PICTURE_BYTES // centers,
        ),
    }


def _certainty(result: CenterResult) -> dict[str, Any] | None:
    """What temperature and flags do; None where nothing was said of them."""
    found = result.metrics.get("certainty")
    if found is None:
        return None
    probabilities = np.asarray(result.probabilities, dtype=np.float64)
    wrong = probabilities.argmax(axis=1) != np.asarray(result.labels)
    right = found["accuracy_of_unflagged"]["value"]
    unflagged = None if right is None else (1 - found["flagged"]["value"], 1 - right)
    return {
        **found,
        "words": words.certainty(found, with_prior="prior" in result.metrics),
        "picture": figures.risk_coverage_picture(*risk_coverage(-probabilities.max(axis=1), wrong), unflagged),
        "rows": [
            (kind.heading, *(_score(found[when][kind.key], kind) for when in ("before", "after")))
            for kind in words.CALIBRATION
        ],
    }


def _unusual(facts: Any) -> dict[str, Any] | None:
    """How many cells are flagged `unusual`; None where the model cannot tell."""
    if not facts:
        return None
    rows = [(name, _score(share, words.SHARE)) for name, share in facts["classes"].items()]
    return {"words": words.unusual(facts), "rows": rows, "mostly": words.mostly_unusual(facts)}


def _robustness(facts: Any) -> dict[str, Any] | None:
    if not facts:
        return None
    return {
        "facts": facts,
        "picture": svg_uri(robustness_figure(facts)),
        "rows": list(robustness_rows(facts)),
        "strengths": next(iter(facts["kinds"].values()))["strengths"],
    }


def _scores(values: Any, kinds: tuple[words.Score, ...]) -> list[dict[str, str]]:
    return [_score(values[kind.key], kind) for kind in kinds]


def _score(score: Any, kind: words.Score) -> dict[str, str]:
    return {"value": words.value_of(score, kind), "interval": words.interval_of(score, kind)}


def _class_row(name: str, metrics: Any, unseen: bool) -> dict[str, Any]:
    entry = metrics["classes"][name]
    return {
        "name": name,
        "support": entry["support"],
        "predicted": entry["predicted"],
        "unseen": unseen,
        "scores": _scores(entry, words.CLASS_SCORES),
    }


def _mix_ups(confusion: NDArray[np.int64], names: list[str]) -> Iterator[dict[str, Any]]:
    """The most frequent errors: true class, what it was called, how often, of how many."""
    errors = confusion * (1 - np.eye(len(names), dtype=np.int64))
    for flat in np.argsort(-errors, axis=None, kind="stable")[:_CONFUSIONS]:
        i, j = divmod(int(flat), len(names))
        if errors[i, j] > 0:
            total = int(confusion[i].sum())
            yield {
                "truth": names[i],
                "predicted": names[j],
                "count": int(errors[i, j]),
                "total": total,
                "share": errors[i, j] / total,
            }


def _scores_picture(report: RunReport) -> str | None:
    if len(report.results) < 2:
        return None
    return figures.scores_picture(
        [result.name for result in report.results], [result.metrics for result in report.results]
    )


def _learning(report: RunReport) -> dict[str, Any] | None:
    if not report.history:
        return None
    last = report.history[-1]
    ends = [
        f"{words.plain(key)} {words.percent(last[key]) if 'accuracy' in key else words.number(last[key])}"
        for key in ("loss", "accuracy", "validation_loss", "validation_accuracy")
        if last.get(key) is not None
    ]
    return {
        "picture": figures.learning_picture(report.history),
        "epochs": len(report.history),
        "last": ", ".join(ends),
        "taught": report.recipe.get("teacher_share") is not None,
    }
