"""Pointing and mass against counting by hand, and against what chance gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leukonca.errors import UsageError
from leukonca.explain.localization import mass_inside, pointing
from leukonca.explain.where import shares_by_region


def test_a_small_map_by_hand() -> None:
    relevance = np.array([[3.0, -1.0], [0.0, 4.0]])
    right = np.array([[False, True], [False, True]])
    assert pointing(relevance, right) == 1
    assert pointing(relevance, ~right) == 0
    assert mass_inside(relevance, right) == 5 / 8
    assert mass_inside(relevance, ~right) == 3 / 8
    assert pointing(-relevance, right) == 1, "the largest value of a signed map speaks for the class"
    assert pointing(np.minimum(relevance, 3), right) == 0.5, "two are the largest"


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 9999), height=st.integers(2, 9), width=st.integers(2, 9), scale=st.floats(0.01, 100))
def test_masses_of_regions_add_up_and_size_does_not_count(seed: int, height: int, width: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    relevance = rng.normal(size=(height, width)).astype(np.float32)
    mask = rng.choice(np.array([0, 128, 255], np.uint8), size=(height, width))
    inside = mask > 0
    shares = shares_by_region(relevance, mask)
    assert mass_inside(relevance, inside) == pytest.approx(shares["nucleus"] + shares["cytoplasm"], abs=1e-6)
    assert mass_inside(relevance, inside) + mass_inside(relevance, ~inside) == pytest.approx(1)
    assert mass_inside(scale * relevance, inside) == pytest.approx(mass_inside(relevance, inside), abs=1e-5)
    assert pointing(scale * relevance, inside) == pointing(relevance, inside)
    assert pointing(relevance, inside) + pointing(relevance, ~inside) == 1


def test_a_map_that_knows_nothing_scores_what_the_target_covers() -> None:
    inside = np.zeros((20, 20), bool)
    inside[3:11, 5:14] = True  # 72 of 400
    everywhere = np.eye(400).reshape(400, 20, 20)  # one map for each place that it may point at
    assert np.mean([pointing(one, inside) for one in everywhere]) == 0.18
    assert np.mean([mass_inside(one, inside) for one in everywhere]) == pytest.approx(0.18)
    maps = np.random.default_rng(0).random((200, 20, 20))
    assert np.mean([mass_inside(one, inside) for one in maps]) == pytest.approx(0.18, abs=0.005)
    nothing = np.zeros((20, 20))
    assert pointing(nothing, inside) == mass_inside(nothing, inside) == 0.18


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="do not fit"):
        pointing(np.zeros((3, 3)), np.zeros((3, 4), bool))
    with pytest.raises(UsageError, match="do not fit"):
        mass_inside(np.zeros((3, 3)), np.zeros((3, 3), np.uint8))
    with pytest.raises(UsageError, match="not finite"):
        pointing(np.full((3, 3), np.nan), np.zeros((3, 3), bool))
