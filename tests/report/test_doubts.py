"""What the page says of doubtful and of unusual cells."""

import dataclasses

import numpy as np
import pytest

from leukonca.evaluation.certainty import by_flag, certainty
from leukonca.evaluation.unusual import unusual_facts
from leukonca.models.config import ModelConfig
from leukonca.models.presets import preset

from .made import report


@pytest.mark.parametrize("chosen", [True, False])
def test_flags_and_temperature_are_told(make_result, page_of, chosen):
    result = make_result()
    before, after = result.probabilities**2, result.probabilities
    before = before / before.sum(axis=1, keepdims=True)
    flagged = after.max(axis=1) < 0.4
    assert 0 < flagged.sum() < len(flagged)
    found = certainty(before, after, result.labels, flagged, draws=30)
    told = {"temperature": 1.75, "threshold": 0.4, "chosen": chosen, **found}
    page = page_of(report(dataclasses.replace(result, metrics={**result.metrics, "certainty": told})))
    right = after.argmax(axis=1) == result.labels
    assert (
        f"{100 * flagged.mean():.1f}% of the cells are in doubt (flag uncertain, where they are not unusual): "
        "largest probability below 0.400." in page.text
    )
    assert f"Of the others, {100 * right[~flagged].mean():.1f}% are right" in page.text
    assert f"Of those in doubt, {100 * right[flagged].mean():.1f}%." in page.text
    assert ("(1.750): chosen on validation images." in page.text) == chosen
    assert ("leukonca calibrate" in page.text) == (not chosen)
    assert f"(AURC) is {found['aurc']['value']:.3f}" in page.text
    (table,) = [rows for rows in page.tables if rows[0][0] == "Lower is better"]
    assert [row[0] for row in table[1:]] == ["Calibration error", "Negative log likelihood", "Brier score"]
    for row, name in zip(table[1:], ("ece", "nll", "brier"), strict=True):
        values = [cell.partition("|")[0] for cell in row[1:]]
        assert values == [f"{found[part][name]['value']:.3f}" for part in ("before", "after")]
    assert sum("Risk-coverage" in image["alt"] for image in page.all("img")) == 1


def test_a_page_without_them_does_not_speak_of_them(make_result, page_of):
    page = page_of(report(make_result()))
    assert "Which answers to doubt" not in page.text
    assert "unusual" not in page.text


@pytest.mark.parametrize("elsewhere", [True, False])
@pytest.mark.parametrize("limit", [0.1, 0.9])
def test_unusual_cells_are_counted_class_by_class(make_result, page_of, elsewhere, limit):
    result = make_result(images=40)
    scores, labels = np.linspace(0, 1, 40), np.asarray(result.labels)
    config = ModelConfig(preset("tiny"), thresholds={"unusual": limit})
    names = result.metrics["class_names"]
    usual = np.linspace(0, 0.8, 30) if elsewhere else None
    facts = unusual_facts(scores, labels, names, config=config, usual=usual)
    told = ["unusual" if score > limit else "" for score in scores]
    facts["answers"] = by_flag(told, np.arange(40) % 2 == 0)
    page = page_of(report(dataclasses.replace(result, metrics={**result.metrics, "unusual": facts})))
    flagged = scores > limit
    counted = f"no flag {100 - 100 * flagged.mean():.1f}%, of which 50.0% are right; uncertain 0.0%; unusual "
    assert f"With the flags that predict gives: {counted}" in page.text
    assert f"{100 * flagged.mean():.1f}% of the cells (" in page.text
    for warning in ("do not rely on its answers here", "Most of these cells are unlike those"):
        assert (warning in page.text) == (limit == 0.1)
    if elsewhere:
        below = (scores[:, None] > usual).mean() + (scores[:, None] == usual).mean() / 2
        assert f"AUROC {below:.3f}; where 95% of its own cells are accepted" in page.text
    assert ("Against the training center's own cells" in page.text) == elsewhere
    (table,) = [rows for rows in page.tables if rows[0] == ["Class", "Flagged unusual"]]
    found = {row[0]: row[1].partition("|")[0] for row in table[1:]}
    assert found == {names[k].replace("_", " "): f"{100 * flagged[labels == k].mean():.1f}%" for k in np.unique(labels)}
