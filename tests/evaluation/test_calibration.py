import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss

from leukonca.evaluation.calibration import brier_scores, expected_calibration_error, reliability


def made_up(images, classes, seed):
    generator = np.random.default_rng(seed)
    return generator.dirichlet(np.full(classes, 0.4), images), generator.integers(0, classes, images)


@given(st.integers(1, 80), st.integers(2, 7), st.integers(0, 2**32))
def test_brier_score_is_that_of_scikit_learn(images, classes, seed):
    probabilities, labels = made_up(images, classes, seed)
    theirs = brier_score_loss(labels, probabilities, labels=range(classes), scale_by_half=False)
    assert brier_scores(probabilities, labels).mean() == pytest.approx(theirs, abs=1e-12)


@given(st.integers(1, 80), st.integers(2, 7), st.integers(1, 20), st.integers(0, 2**32))
def test_reliability_bins_hold_what_lies_between_their_edges(images, classes, bins, seed):
    probabilities, labels = made_up(images, classes, seed)
    found = reliability(probabilities, labels, bins)
    top, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    assert found.count.sum() == images
    for b in range(bins):
        inside = (top > found.edges[b]) & (top <= found.edges[b + 1])
        assert found.count[b] == inside.sum()
        if inside.any():
            assert found.confidence[b] == pytest.approx(top[inside].mean())
            assert found.accuracy[b] == pytest.approx(right[inside].mean())
        else:
            assert np.isnan([found.confidence[b], found.accuracy[b]]).all()
    gaps = np.nan_to_num(np.abs(found.confidence - found.accuracy))
    ece = expected_calibration_error(probabilities, labels, bins)
    assert ece == pytest.approx((gaps * found.count).sum() / images, abs=1e-12)


def test_calibration_error_of_worked_examples():
    sure_and_right = np.eye(3)
    assert expected_calibration_error(sure_and_right, np.arange(3)) == 0
    assert expected_calibration_error(sure_and_right, np.array([1, 2, 0])) == 1
    assert (brier_scores(sure_and_right, np.array([0, 2, 2])) == [0, 2, 0]).all()
    eight_of_ten = np.tile([0.6, 0.4], (10, 1))
    labels = np.array([0] * 8 + [1] * 2)
    assert expected_calibration_error(eight_of_ten, labels) == pytest.approx(0.2)
    assert brier_scores(eight_of_ten, labels).mean() == pytest.approx(0.8 * 0.32 + 0.2 * 0.72)


def test_edge_values_fall_into_the_lower_bin():
    halves = reliability(np.array([[0.5, 0.5], [1.0, 0.0], [0.75, 0.25]]), np.array([0, 0, 1]), bins=4)
    assert halves.count.tolist() == [0, 1, 1, 1]
