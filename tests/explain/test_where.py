import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leukonca.errors import UsageError
from leukonca.explain.where import heat_map, region, shares_by_region


def test_region_is_what_numpy_calls_above_the_quantile() -> None:
    values = np.random.default_rng(0).permutation(400).reshape(20, 20).astype(np.float32)
    assert region(values).sum() == 8
    assert values[region(values)].min() > values[~region(values)].max()
    sparse = np.zeros((20, 20))
    sparse[3, :15] = 1  # more than 2% are the largest: the quantile is the largest value itself
    assert (region(sparse) == (sparse == 1)).all()
    assert not region(np.full((4, 4), 7.0)).any()
    with pytest.raises(UsageError, match="below 1"):
        region(values, 1.0)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), flat=st.booleans(), quantile=st.sampled_from([0.0, 0.5, 0.98]))
def test_heat_adds_up_to_the_relevance_of_channels_that_look_somewhere(seed: int, flat: bool, quantile: float) -> None:
    rng = np.random.default_rng(seed)
    state = rng.integers(-3, 4, size=(6, 7, 5)).astype(np.float32)
    if flat:
        state[:, :, 1] = 2
    relevance = rng.normal(size=5)
    heat = heat_map(state, relevance, quantile)
    wanted = sum(relevance[c] for c in range(5) if np.ptp(state[:, :, c]) > 0)
    assert heat.dtype == np.float32
    assert heat.sum(dtype=float) == pytest.approx(wanted, abs=1e-5)
    one = heat_map(state, np.array([0, 0, -2.0, 0, 0]), quantile)
    assert (one[region(state[:, :, 2], quantile)] <= 0).all()
    assert not one[~region(state[:, :, 2], quantile)].any()


def test_shares_by_region_count_sizes_whatever_the_sign() -> None:
    mask = np.array([[255, 128], [0, 0]], np.uint8)
    colors = np.array([[[1, 1, 1], [-2, -2, -2]], [[5, -5, 0], [0, 1, 0]]], float)
    assert shares_by_region(colors, mask) == pytest.approx({"nucleus": 0.3, "cytoplasm": 0.6, "background": 0.1})
    assert set(shares_by_region(np.zeros((2, 2)), mask).values()) == {0.0}
    with pytest.raises(UsageError, match="do not fit"):
        shares_by_region(np.zeros((3, 2)), mask)
    with pytest.raises(UsageError, match="relevance of shape"):
        heat_map(np.zeros((2, 2, 3)), np.zeros(2))
