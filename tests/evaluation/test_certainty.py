"""Scores before and after against scikit-learn, shares against counting, intervals against scoring each draw alone."""

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from leukonca.evaluation.calibration import expected_calibration_error
from leukonca.evaluation.certainty import certainty
from leukonca.evaluation.intervals import wilson_interval
from leukonca.evaluation.uncertainty import risk_coverage


@pytest.fixture(scope="module")
def made() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(2)
    before, after = (generator.dirichlet(np.full(4, strength), 60) for strength in (0.4, 0.9))
    return before, after, generator.integers(0, 4, 60)


def test_scores(made: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    before, after, labels = made
    flagged = after.max(axis=1) < 0.6
    found = certainty(before, after, labels, flagged, draws=200, seed=3)
    for part, p in (("before", before), ("after", after)):
        assert found[part]["nll"]["value"] == pytest.approx(log_loss(labels, p, labels=range(4)))
        brier = brier_score_loss(labels, p, labels=range(4), scale_by_half=False)
        assert found[part]["brier"]["value"] == pytest.approx(brier)
        assert found[part]["ece"]["value"] == pytest.approx(expected_calibration_error(p, labels))
    right = after.argmax(axis=1) == labels
    assert found["aurc"]["value"] == pytest.approx(risk_coverage(-after.max(axis=1), ~right)[1].mean())
    best = risk_coverage((~right).astype(float), ~right)[1].mean()
    assert found["excess_aurc"] == pytest.approx(found["aurc"]["value"] - best)
    for name, hits in (
        ("flagged", flagged),
        ("accuracy_of_unflagged", right[~flagged]),
        ("accuracy_of_flagged", right[flagged]),
    ):
        low, high = wilson_interval(int(hits.sum()), len(hits)) or (0, 0)
        assert found[name] == {"value": hits.mean(), "low": low, "high": high}


def test_an_interval_holds_the_middle_of_draws_scored_alone(made: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    before, after, labels = made
    found = certainty(before, after, labels, np.zeros(60, bool), draws=50, seed=3)
    generator = np.random.default_rng(3)
    alone: dict[str, list[float]] = {"nll": [], "ece": [], "aurc": []}
    for _ in range(50):
        drawn = generator.integers(0, 60, 60)
        p, y = after[drawn], labels[drawn]
        alone["nll"].append(log_loss(y, p, labels=range(4)))
        alone["ece"].append(expected_calibration_error(p, y))
        alone["aurc"].append(risk_coverage(-p.max(axis=1), p.argmax(axis=1) != y)[1].mean())
    for name, score in (("nll", found["after"]["nll"]), ("ece", found["after"]["ece"]), ("aurc", found["aurc"])):
        np.testing.assert_allclose((score["low"], score["high"]), np.quantile(alone[name], [0.025, 0.975]), atol=1e-9)


def test_what_has_no_value_is_null() -> None:
    p = np.array([[1.0, 0.0], [0.5, 0.5]])
    found = certainty(p, p, np.array([1, 0]), np.array([True, True]), draws=20)
    nothing = {"value": None, "low": None, "high": None}
    assert found["after"]["nll"] == found["accuracy_of_unflagged"] == nothing
    assert found["accuracy_of_flagged"]["value"] == 0.5
