"""Entropies against SciPy, risk-coverage curves against all orders of equal doubts, areas against their mean."""

from itertools import permutations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from leukonca.evaluation.intervals import bootstrap_counts
from leukonca.evaluation.uncertainty import aurc, decompose, entropy, excess_aurc, log_losses, risk_coverage

QUICK = settings(max_examples=60, deadline=None)
DOUBTS = st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=6)


def runs_of(seed: int, runs: int, images: int, classes: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.3), (runs, images))


@QUICK
@given(st.integers(0, 2**32), st.integers(1, 9), st.integers(1, 7), st.integers(2, 13))
def test_entropies_are_those_of_scipy_and_the_parts_add_up(seed: int, runs: int, images: int, classes: int) -> None:
    p = runs_of(seed, runs, images, classes)
    p[0, 0] = np.eye(classes)[0]  # 0 log 0
    found = decompose(p)
    np.testing.assert_allclose(found.mean, p.mean(axis=0))
    np.testing.assert_allclose(found.total, scipy.stats.entropy(p.mean(axis=0), axis=1), atol=1e-12)
    np.testing.assert_allclose(found.expected, scipy.stats.entropy(p, axis=2).mean(axis=0), atol=1e-12)
    # Mutual information by its other definition: mean divergence of the runs from their mean.
    divergence = scipy.stats.entropy(p, p.mean(axis=0, keepdims=True).repeat(runs, axis=0), axis=2).mean(axis=0)
    np.testing.assert_allclose(found.mutual, divergence, atol=1e-10)
    assert (found.mutual <= np.log(min(runs, classes)) + 1e-12).all()


def test_runs_that_agree_share_no_information_and_runs_that_are_sure_of_different_things_only_that() -> None:
    same = np.tile(np.array([0.7, 0.2, 0.1]), (5, 1, 1))
    assert decompose(same).mutual == pytest.approx(0, abs=1e-12)
    apart = np.eye(3)[:, None]
    assert decompose(apart).expected.tolist() == [0]
    assert decompose(apart).mutual == pytest.approx(np.log(3))
    assert entropy(np.full((2, 4), 0.25)) == pytest.approx(np.log(4))


@QUICK
@given(DOUBTS)
def test_the_curve_is_the_mean_over_all_orders_of_equal_doubts(cells: list[tuple[int, bool]]) -> None:
    doubt, wrong = (np.array(column) for column in zip(*cells, strict=True))
    curves = []
    for order in permutations(range(len(cells))):
        if (np.diff(doubt[list(order)]) >= 0).all():
            errors = np.cumsum(wrong[list(order)])
            curves.append([errors[i] / (i + 1) for i in range(len(cells))])
    coverage, risk = risk_coverage(doubt, wrong)
    np.testing.assert_allclose(coverage, [(i + 1) / len(cells) for i in range(len(cells))])
    np.testing.assert_allclose(risk, np.mean(curves, axis=0), atol=1e-12)
    assert aurc(doubt, wrong)[0] == pytest.approx(np.mean(curves), abs=1e-12)


@QUICK
@given(DOUBTS, st.integers(0, 1000))
def test_a_draws_area_is_that_of_its_images_one_by_one(cells: list[tuple[int, bool]], seed: int) -> None:
    doubt, wrong = (np.array(column) for column in zip(*cells, strict=True))
    (counts,) = bootstrap_counts(len(cells), 4, seed)
    for column, found in zip(counts.T, aurc(doubt, wrong, counts), strict=True):
        drawn = np.repeat(np.arange(len(cells)), column)
        assert found == pytest.approx(risk_coverage(doubt[drawn], wrong[drawn])[1].mean(), abs=1e-12)


def test_worked_areas() -> None:
    wrong = np.array([False, False, True, True])
    best, worst, none = np.arange(4.0), -np.arange(4.0), np.zeros(4)
    assert aurc(best, wrong)[0] == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)
    assert aurc(worst, wrong)[0] == pytest.approx((1 + 1 + 2 / 3 + 1 / 2) / 4)
    assert aurc(none, wrong)[0] == pytest.approx(0.5)  # the share of errors
    assert excess_aurc(best, wrong) == pytest.approx(0)
    assert excess_aurc(none, wrong) == pytest.approx(0.5 - 5 / 24)
    assert aurc(np.array([0.0, np.inf, np.inf]), np.array([False, True, False]))[0] == pytest.approx(
        (1 / 4 + 1 / 3) / 3
    )


@QUICK
@given(st.integers(0, 2**32), st.integers(2, 60))
def test_a_perfect_order_approaches_the_formula_of_the_source(seed: int, images: int) -> None:
    """Geifman et al.: r + (1 - r) log(1 - r) for risk r, as the number of images grows."""
    wrong = np.random.default_rng(seed).random(200 * images) < 0.3
    r = wrong.mean()
    expected = r + (1 - r) * np.log1p(-r)
    assert aurc(wrong.astype(float), wrong)[0] == pytest.approx(expected, abs=2 / len(wrong))


@QUICK
@given(st.integers(0, 2**32), st.integers(2, 40), st.integers(2, 7))
def test_log_losses_are_those_of_scikit_learn(seed: int, images: int, classes: int) -> None:
    generator = np.random.default_rng(seed)
    p, labels = generator.dirichlet(np.ones(classes), images), generator.integers(0, classes, images)
    assert log_losses(p, labels).mean() == pytest.approx(log_loss(labels, p, labels=range(classes)), rel=1e-9)


def test_a_true_class_of_probability_0_costs_everything() -> None:
    assert log_losses(np.eye(2), np.array([0, 0])).tolist() == [0, np.inf]
