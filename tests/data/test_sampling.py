import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from leukonca.data.sampling import balanced_draws
from leukonca.errors import DataError


@settings(max_examples=50, deadline=None)
@given(
    labels=st.lists(st.integers(0, 12), min_size=1, max_size=40),
    seed=st.integers(-5, 2**63),
    epoch=st.integers(0, 10_000),
    count=st.integers(0, 100),
)
def test_draws_are_positions_and_a_pure_function(labels, seed, epoch, count):
    draws = balanced_draws(np.array(labels), seed, epoch, count)
    assert draws.dtype == np.int64
    assert draws.shape == (count,)
    assert ((draws >= 0) & (draws < len(labels))).all()
    np.testing.assert_array_equal(draws, balanced_draws(np.array(labels), seed, epoch, count))


def test_weights_are_one_over_the_class_count():
    labels = np.array([7] * 3 + [0] * 50 + [12] * 10 + [0] * 20)
    weights = 1 / np.array([(labels == label).sum() for label in labels])
    drawn = np.bincount(balanced_draws(labels, 0, 0, 200_000), minlength=len(labels))
    assert stats.chisquare(drawn, weights / weights.sum() * drawn.sum()).pvalue > 0.001


def test_seeds_and_epochs_differ_and_are_shuffled():
    labels = np.repeat([0, 1, 2], 100)
    first = balanced_draws(labels, 0, 0, 300)
    assert (first != balanced_draws(labels, 0, 1, 300)).mean() > 0.9
    assert (first != balanced_draws(labels, 1, 0, 300)).mean() > 0.9
    classes = labels[first]
    assert 0.2 < (classes[1:] == classes[:-1]).mean() < 0.47  # neighbours are as independent as draws should be


def test_the_same_on_every_machine():
    draws = balanced_draws(np.array([4, 0, 4, 2, 2, 2]), 11, 3, 12)
    assert draws.tolist() == [2, 0, 1, 3, 1, 1, 4, 1, 0, 1, 1, 5]


def test_nothing_to_draw_from():
    with pytest.raises(DataError, match="training part is empty"):
        balanced_draws(np.zeros(0, np.int64), 0, 0, 5)
