"""AUROC against scikit-learn, FPR95 against its definition, intervals against a bootstrap written out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import roc_auc_score

from leukonca.errors import DataError
from leukonca.evaluation.separation import separation

SCORES = hnp.arrays(np.float64, st.integers(1, 50), elements=st.integers(0, 8).map(float) | st.just(np.inf))


def fpr95(usual: np.ndarray, unusual: np.ndarray) -> float:
    """The share of unusual images at or below the smallest threshold that accepts 95 of 100 usual ones."""
    limit = min(value for value in usual if 100 * np.count_nonzero(usual <= value) >= 95 * len(usual))
    return float(np.mean(unusual <= limit))


@settings(deadline=None)
@given(SCORES, SCORES)
def test_equals_the_definitions(usual: np.ndarray, unusual: np.ndarray) -> None:
    found = separation(usual, unusual, draws=5)
    truth = np.repeat([0, 1], [len(usual), len(unusual)])
    finite = np.minimum(np.concatenate([usual, unusual]), 99)
    assert found["auroc"]["value"] == pytest.approx(roc_auc_score(truth, finite))
    assert found["fpr95"]["value"] == pytest.approx(fpr95(usual, unusual))
    for each in found.values():
        assert 0 <= each["low"] <= each["high"] <= 1


def test_intervals_are_those_of_a_bootstrap() -> None:
    generator = np.random.default_rng(3)
    usual, unusual = generator.normal(size=120), generator.normal(1.2, 1.5, size=90)
    found = separation(usual, unusual, draws=2000, seed=1)
    drawn = []
    for _ in range(2000):
        some, others = (generator.choice(values, len(values)) for values in (usual, unusual))
        drawn.append(((others[:, None] > some).mean(), fpr95(some, others)))
    for name, values in zip(("auroc", "fpr95"), np.array(drawn).T, strict=True):
        expected = np.quantile(values, [0.025, 0.975])
        assert [found[name]["low"], found[name]["high"]] == pytest.approx(expected, abs=0.02)
        assert found[name]["low"] < found[name]["value"] < found[name]["high"]


@pytest.mark.parametrize(("usual", "unusual"), [([], [1.0]), ([1.0], []), ([np.nan], [1.0]), ([1.0], [np.nan])])
def test_nothing_to_compare(usual: list[float], unusual: list[float]) -> None:
    with pytest.raises(DataError, match="needs some of both, and no NaN"):
        separation(np.array(usual), np.array(unusual))
