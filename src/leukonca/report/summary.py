"""The same results as plain text, for a terminal of 80 columns or a pipe."""

from collections.abc import Sequence

from leukonca.report.content import SYNTHETIC_NOTE, CenterResult
from leukonca.report.words import NOTHING, SCORES, interval_of, percent, value_of

_SHOWN = tuple(score for score in SCORES if score.key not in ("mcc", "brier", "ece"))
_HEADINGS = {"accuracy": "accuracy", "balanced_accuracy": "balanced", "macro_f1": "macro-F1", "macro_auroc": "AUROC"}
_NAME, _COLUMN = 15, 12


def summary_table(results: Sequence[CenterResult], *, synthetic: bool = False) -> str:
    """Centers against their main scores, intervals beneath, with the accuracy that no skill would reach.

    Args:
        results: one row a center.
        synthetic: say beneath that the cells are synthetic.

    Returns:
        Lines of at most 80 characters, joined by newlines, without control codes.
    """
    headings = "".join(f"{_HEADINGS[score.key]:>{_COLUMN}}" for score in _SHOWN)
    lines = [f"{'center':<{_NAME}}{'cells':>7}{headings}{'majority':>10}"]
    for result in results:
        scores = [(result.metrics[score.key], score) for score in _SHOWN]
        values = "".join(f"{value_of(*each):>{_COLUMN}}" for each in scores)
        ranges = "".join(f"{interval_of(*each, dash='-'):>{_COLUMN}}" for each in scores)
        majority = percent(result.metrics["majority_accuracy"])
        lines.append(f"{_cut(result.name):<{_NAME}}{result.metrics['images']:>7}{values}{majority:>10}".rstrip())
        if ranges.strip():
            lines.append(f"{'':<{_NAME + 7}}{ranges}")
    lines.append("majority: accuracy of always answering the most frequent class of the center")
    if any(result.metrics["accuracy"]["low"] is not None for result in results):
        lines.insert(-1, "beneath each score: its 95% interval (accuracy: Wilson; others: bootstrap)")
    lines += [_patients(result) for result in results if result.metrics.get("patients")]
    lines += [_limit(result) for result in results if (result.metrics["ceiling_accuracy"] or 1) < 1]
    lines += [_began(result) for result in results if result.metrics.get("began_as")]
    lines += [_level(result) for result in results if result.metrics.get("scored_as")]
    lines += [_robust(result) for result in results if result.metrics.get("robustness")]
    if synthetic:
        lines.append(f"{SYNTHETIC_NOTE}.")
    return "\n".join(lines).replace(NOTHING, "-")


def _patients(result: CenterResult) -> str:
    number = result.metrics["patients"]
    if number == 1:
        return f"{_cut(result.name)}: cells of 1 patient, who says nothing of others: no intervals"
    return f"{_cut(result.name)}: cells of {number} patients; intervals are of patients, not of cells"


def _limit(result: CenterResult) -> str:
    reach = percent(result.metrics["ceiling_accuracy"])
    return f"{_cut(result.name)}: at most {reach} can be right; the rest is of untrained classes"


def _began(result: CenterResult) -> str:
    before = result.metrics["began_as"]
    return f"{_cut(result.name)}: {percent(before['accuracy']['value'])} right by {before['model']}, which it began as"


def _level(result: CenterResult) -> str:
    labelled = sum(bool(counted["labels"]) for counted in result.metrics["scored_as"].values())
    return f"{_cut(result.name)}: scored on {labelled} coarser classes; any other answer counts as wrong"


def _robust(result: CenterResult) -> str:
    facts = result.metrics["robustness"]
    before, after = percent(facts["clean"]["accuracy"]["value"]), percent(facts["shifted_accuracy"])
    return f"{_cut(result.name)}: {after} right when corrupted, {before} of the same {facts['images']:,} when not"


def _cut(name: str) -> str:
    """A name that fits its column; control characters would break the table."""
    clean = "".join(letter if letter.isprintable() else "?" for letter in name)
    return clean if len(clean) < _NAME else clean[: _NAME - 4] + "..."
