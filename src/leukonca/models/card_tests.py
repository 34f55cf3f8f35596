"""The tests on a model card: scores per center and per class with their intervals, and what goes wrong."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leukonca.errors import ModelError

WEAK = 0.8
"""A class with a lower recall is named among the failures."""

_CENTER_SCORES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "macro_auroc": "AUROC",
    "ece": "calibration error",
}
_OTHER_SCORES = ("accuracy", "balanced_accuracy", "macro_f1", "ece")
_CLASS_SCORES = {"recall": "recall", "precision": "precision", "f1": "F1"}
_AS_NUMBERS = ("macro_f1", "macro_auroc", "ece", "f1")


@dataclass(frozen=True)
class CardTest:
    """One test of a model.

    Args:
        center: that was tested, as shown.
        metrics: of `leukonca.evaluation.metrics.metrics_with_intervals`, and ``note``: which images these are;
            ``otherwise``, if it was asked in other ways as well: options of ``evaluate`` -> scores.
        command: that made the test.
        source: whose images these are, and their license.
    """

    center: str
    metrics: Mapping[str, Any]
    command: str = ""
    source: str = ""


def read_tests(folder: Path) -> tuple[CardTest, ...]:
    """The tests that ``metrics.json`` of a shipped model tells of.

    Raises:
        ModelError: missing or damaged.
    """
    path = Path(folder) / "metrics.json"
    try:
        centers = json.loads(path.read_text(encoding="utf-8"))["centers"]
        return tuple(
            CardTest(name, metrics, metrics.get("command", ""), metrics.get("source", ""))
            for name, metrics in centers.items()
        )
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"{path}: missing or damaged ({error!r}); install leukonca again") from error


def told_tests(tests: Sequence[CardTest]) -> list[str]:
    """Markdown lines: a table of all centers, then one of each center's classes."""
    lines = [
        f"Value [95% interval]. {_how(tests[0])}.",
        "",
        _row(["center", "images", *_CENTER_SCORES.values(), "always the most frequent class"]),
        _row(["---"] * (len(_CENTER_SCORES) + 3)),
    ]
    for test in tests:
        scores = [_told(test.metrics[score], score) for score in _CENTER_SCORES]
        majority = f"{100 * test.metrics['majority_accuracy']:.1f}%"
        lines.append(_row([test.center, f"{test.metrics['images']:,}", *scores, majority]))
    lines += _otherwise(tests)
    for test in tests:
        lines += ["", f"### {test.center}", "", _sentence(test), ""]
        lines += [f"    {test.command}", ""] if test.command else []
        lines += [_row(["class", "images", *_CLASS_SCORES.values()]), _row(["---"] * (len(_CLASS_SCORES) + 2))]
        lines += [
            _row([name, f"{each['support']:,}", *(_told(each[score], score) for score in _CLASS_SCORES)])
            for name, each in test.metrics["classes"].items()
            if each["support"]
        ]
    return lines


def _otherwise(tests: Sequence[CardTest]) -> list[str]:
    """Markdown lines: scores of the same images where the model is asked in other ways than one run of each."""
    rows = [
        _row([test.center, f"`{asked}`", *(_told(scores[score], score) for score in _OTHER_SCORES)])
        for test in tests
        for asked, scores in test.metrics.get("otherwise", {}).items()
    ]
    if not rows:
        return []
    head = ["center", "with", *(_CENTER_SCORES[score] for score in _OTHER_SCORES)]
    about = (
        "That is one run of each image. The same images, with the options of `predict` and `evaluate` that are named:"
    )
    return ["", about, "", _row(head), _row(["---"] * len(head)), *rows]


def told_failures(tests: Sequence[CardTest]) -> list[str]:
    """Markdown lines: classes that are often taken for others, and centers where the model does not help."""
    lines = []
    for test in tests:
        metrics = test.metrics
        share, majority = metrics["accuracy"]["value"], metrics["majority_accuracy"]
        if share < majority:
            lines.append(
                f"- {test.center}: {100 * share:.1f}% right, where always answering {metrics['majority_class']} is "
                f"right for {100 * majority:.1f}%. The model is of no use there."
            )
        for number, (name, each) in enumerate(metrics["classes"].items()):
            if each["support"] and each["recall"]["value"] < WEAK:
                lines.append(
                    f"- {test.center}, {name}: {100 * each['recall']['value']:.1f}% found; "
                    f"taken for {_taken_for(metrics, number)}."
                )
    return lines or [f"- No class of these tests has a recall below {WEAK:.0%}."]


def _taken_for(metrics: Mapping[str, Any], number: int) -> str:
    """The most frequent wrong answers to a class, which together make up most of its errors."""
    row = list(metrics["confusion"][number])
    row[number] = 0
    ranked = sorted(range(len(row)), key=lambda k: -row[k])
    named: list[str] = []
    told = 0
    for k in ranked:
        if row[k] == 0 or told > sum(row) / 2:
            break
        named.append(f"{metrics['class_names'][k]} ({row[k]} of {sum(metrics['confusion'][number])})")
        told += row[k]
    return ", ".join(named)


def _how(test: CardTest) -> str:
    how = str(test.metrics["interval"]).removeprefix("95%").lstrip("; ")
    return how[:1].upper() + how[1:]


def _sentence(test: CardTest) -> str:
    note = str(test.metrics.get("note", ""))
    source = f"Images: {test.source}. " if test.source else ""
    scored = " Scored on coarser classes; any other answer is wrong." if test.metrics.get("scored_as") else ""
    mapped = " The map is in the project's sources." if "--map" in test.command else ""
    return f"{source}{note[:1].upper()}{note[1:]}.{scored}{mapped}"


def _told(score: Mapping[str, Any], name: str) -> str:
    if score["value"] is None:
        return "–"
    times, digits, unit = (1, 3, "") if name in _AS_NUMBERS else (100, 1, "%")
    value = f"{times * score['value']:.{digits}f}{unit}"
    if score["low"] is None:
        return value
    return f"{value} [{times * score['low']:.{digits}f}, {times * score['high']:.{digits}f}]"


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
