"""How numbers, names and settings are written, the same on the page and on the terminal."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from leukonca.evaluation.flags import MOSTLY_UNUSUAL

NOTHING = "–"
"""Stands where a score has no value."""


@dataclass(frozen=True)
class Score:
    """A column of scores: key in the metrics, heading, in per cent or as a plain number, what is better."""

    key: str
    heading: str
    percent: bool = False
    best: str = "high"


SCORES = (
    Score("accuracy", "Accuracy", percent=True),
    Score("balanced_accuracy", "Balanced accuracy", percent=True),
    Score("macro_f1", "Macro-F1"),
    Score("mcc", "MCC"),
    Score("macro_auroc", "AUROC"),
    Score("brier", "Brier score", best="low"),
    Score("ece", "Calibration error", best="low"),
)
"""The scores of a center, in the order shown."""

CALIBRATION = (
    Score("ece", "Calibration error", best="low"),
    Score("nll", "Negative log likelihood", best="low"),
    Score("brier", "Brier score", best="low"),
)
"""What a temperature changes, in the order shown."""

CLASS_SCORES = (
    Score("recall", "Recall (sensitivity)", percent=True),
    Score("precision", "Precision (predictive value)", percent=True),
    Score("f1", "F1"),
    Score("auroc", "AUROC"),
)
"""The scores of a class, in the order shown."""

SHARE = Score("", "", percent=True)
"""A share of cells."""


def percent(value: float | None, digits: int = 1) -> str:
    """0.835 -> 83.5%."""
    return NOTHING if value is None else f"{100 * value:.{digits}f}%"


def number(value: float | None) -> str:
    """0.8351 -> 0.835."""
    return NOTHING if value is None else f"{value:.3f}"


def value_of(score: Mapping[str, Any], kind: Score) -> str:
    """The point value of a score, as text."""
    return percent(score["value"]) if kind.percent else number(score["value"])


def interval_of(score: Mapping[str, Any], kind: Score, dash: str = " to ") -> str:
    """The interval of a score, as text without unit: ``82.2 to 84.7``; empty where there is none."""
    if score["low"] is None:
        return ""
    if kind.percent:
        return f"{100 * score['low']:.1f}{dash}{100 * score['high']:.1f}"
    return f"{score['low']:.3f}{dash}{score['high']:.3f}"


def _bracketed(share: Mapping[str, Any]) -> str:
    """The interval of a share behind its value: `` (82.2 to 84.7%)``; empty where there is none."""
    interval = interval_of(share, SHARE)
    return f" ({interval}%)" if interval else ""


def plain(name: str) -> str:
    """A class name or setting as words: ``neutrophil_banded`` -> ``neutrophil banded``."""
    return name.replace("_", " ")


def verdict(metrics: Mapping[str, Any]) -> str:
    """One sentence that sets accuracy beside what always answering the most frequent class would reach."""
    accuracy, majority = metrics["accuracy"], metrics["majority_accuracy"]
    low = accuracy["value"] if accuracy["low"] is None else accuracy["low"]
    high = accuracy["value"] if accuracy["high"] is None else accuracy["high"]
    always = f"always answering “{plain(metrics['majority_class'])}”, which is right for {percent(majority)} of them"
    if metrics.get("patients") == 1:
        return f"What that gains over {always}, one patient cannot tell."
    if low > majority:
        return f"Better than {always}."
    if high < majority:
        return f"Worse than {always}."
    return f"No clear gain over {always}."


def began(found: Mapping[str, Any] | None) -> str:
    """How many of the same cells the model named rightly that a training began as; empty where there was none."""
    if not found:
        return ""
    accuracy = found["accuracy"]
    return f"The model that it began as, {found['model']}: {percent(accuracy['value'])}{_bracketed(accuracy)}."


def certainty(found: Mapping[str, Any], *, with_prior: bool = False) -> str:
    """Sentences on flags and temperature."""
    flagged, unflagged = found["flagged"], found["accuracy_of_unflagged"]
    share, limit = percent(flagged["value"]), f"{found['threshold']:.3f}"
    prior = ", or an answer that the prior changed" if with_prior else ""
    told = [
        f"{share} of the cells are in doubt (flag uncertain, where they are not unusual): "
        f"largest probability below {limit}{prior}."
    ]
    if unflagged["value"] is None:
        told.append("None is left.")
    else:
        told.append(f"Of the others, {percent(unflagged['value'])} are right{_bracketed(unflagged)}.")
    if found["accuracy_of_flagged"]["value"] is not None:
        told.append(f"Of those in doubt, {percent(found['accuracy_of_flagged']['value'])}.")
    how = "chosen on validation images" if found["chosen"] else "not chosen for this model: leukonca calibrate does"
    told.append(f"Threshold and temperature ({found['temperature']:.3f}): {how}.")
    return " ".join(told)


def mostly_unusual(found: Mapping[str, Any]) -> bool:
    """Whether more than `MOSTLY_UNUSUAL` of the cells are flagged."""
    return bool(found["flagged"]["value"] > MOSTLY_UNUSUAL)


def unusual(found: Mapping[str, Any]) -> str:
    """Sentences on the flag `unusual`, see `leukonca.evaluation.unusual.unusual_facts`."""
    flagged = found["flagged"]
    told = [
        f"{percent(flagged['value'])} of the cells{_bracketed(flagged)} are further from the training cells of every "
        f"class than {found['threshold']:.4g}, and unusual for that, as at most 5% of the validation cells are."
    ]
    if "auroc" in found:
        told.append(
            f"Against the training center's own cells: AUROC {number(found['auroc']['value'])}; where 95% of its own "
            f"cells are accepted, {percent(found['fpr95']['value'])} of these are too."
        )
    if "answers" in found:
        told.append(f"With the flags that predict gives: {'; '.join(_answers(found['answers']))}.")
    if mostly_unusual(found):
        told.append("The model has not learned from images like these: do not rely on its answers here.")
    return " ".join(told)


def _answers(found: Mapping[str, Any]) -> Iterator[str]:
    """How many answers have each flag, and how many of these are right, see `by_flag`."""
    for flag, words in (("none", "no flag"), ("uncertain", "uncertain"), ("unusual", "unusual")):
        share, accuracy = (found[flag][fact]["value"] for fact in ("share", "accuracy"))
        yield f"{words} {percent(share)}" + ("" if accuracy is None else f", of which {percent(accuracy)} are right")


def level(metrics: Mapping[str, Any]) -> str:
    """How predictions were scored where center and model are not equally fine; empty where they are."""
    told = []
    for name, counted in (metrics.get("scored_as") or {}).items():
        outputs, labels = ([plain(each) for each in counted[kind]] for kind in ("outputs", "labels"))
        if not labels:
            told.append(f"{plain(name)} = {' + '.join(outputs)}, which is always wrong")
        elif not outputs:
            told.append(f"{plain(name)}: the model has no such answer")
        elif outputs != [plain(name)]:
            told.append(f"{plain(name)} = {' + '.join(outputs)}")
        elif labels != [plain(name)]:
            told.append(f"{plain(name)}: cells labelled {' or '.join(labels)}")
    return f"Labels and model are not equally fine; the coarser class counts. {'; '.join(told)}." if told else ""


def settings(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as (dotted name, text) rows, in their order."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from settings(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", setting(value)


def setting(value: Any) -> str:
    """A setting's value as text: yes, no, none, lists separated by commas."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(setting(each) for each in value) or "none"
    return str(value)


def fact(value: Any) -> str:
    """A fact's value as text; whole numbers with thousands separated."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return setting(value)
