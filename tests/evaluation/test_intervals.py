import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap

from leukonca.errors import UsageError
from leukonca.evaluation.intervals import bootstrap_counts, mean_interval, percentile_interval, wilson_interval


@given(st.integers(1, 300), st.integers(0, 20), st.integers(0, 2**63))
def test_each_draw_holds_as_many_images_as_there_are(images, draws, seed):
    columns = [column for counts in bootstrap_counts(images, draws, seed) for column in counts.T]
    assert len(columns) == draws
    assert all(column.shape == (images,) and column.sum() == images for column in columns)


def test_draws_do_not_depend_on_how_many_are_worked_on_at_once(monkeypatch):
    whole = np.concatenate(list(bootstrap_counts(37, 50, seed=3)), axis=1)
    monkeypatch.setattr("leukonca.evaluation.intervals._ELEMENTS", 37 * 8)
    pieces = list(bootstrap_counts(37, 50, seed=3))
    assert len(pieces) == 7
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole)


def test_counts_are_those_of_a_multinomial():
    counts = np.concatenate(list(bootstrap_counts(20, 5000, seed=0)), axis=1)
    assert counts.mean() == 1
    assert counts.var() == pytest.approx(1 - 1 / 20, rel=0.03)
    assert np.abs(counts.mean(axis=1) - 1).max() < 0.06


def test_interval_is_the_middle_95_percent_of_what_has_a_value():
    values = np.concatenate([np.arange(1001.0), [np.nan] * 40])
    assert percentile_interval(np.random.default_rng(0).permutation(values)) == pytest.approx((25.0, 975.0))
    assert percentile_interval(np.full(3, np.nan)) is None


def test_the_interval_of_a_mean_is_scipys():
    values = np.random.default_rng(0).exponential(size=60)
    wanted = bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=1).confidence_interval
    assert mean_interval(values, draws=20_000) == pytest.approx((wanted.low, wanted.high), abs=0.01)
    assert mean_interval(np.full(5, 2.0)) == pytest.approx((2, 2))
    assert mean_interval(np.zeros(0)) is None


def test_negative_seed_is_refused():
    with pytest.raises(UsageError, match="seed -1"):
        next(bootstrap_counts(3, 3, -1))


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_published_intervals(hits, of, low, high):
    """Newcombe 1998, doi 10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E, table I, method 3."""
    assert wilson_interval(hits, of) == pytest.approx((low, high), abs=5e-5)
    assert wilson_interval(of - hits, of) == pytest.approx((1 - high, 1 - low), abs=5e-5)


@given(st.integers(1, 10**6).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_wilson_is_that_of_scipy(share):
    hits, of = share
    expected = binomtest(hits, of).proportion_ci(method="wilson")
    low, high = wilson_interval(hits, of)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0 <= low <= hits / of <= high <= 1
    assert wilson_interval(0, 0) is None
