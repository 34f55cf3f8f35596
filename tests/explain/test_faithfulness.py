"""Curves against a score whose answer is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leukonca.errors import UsageError
from leukonca.explain.faithfulness import blurred, curves, edges, flat, noise

WHITE, BLACK = 255, 0


def brightness(weights: np.ndarray):
    """A linear score: its own weights are the only true map."""

    def score(squares: np.ndarray) -> np.ndarray:
        return (squares[..., 0] / 255 * weights).sum(axis=(1, 2))

    return score


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), height=st.integers(4, 13), width=st.integers(4, 13), side=st.integers(1, 5))
def test_no_map_beats_the_true_one_of_a_linear_score(seed: int, height: int, width: int, side: int) -> None:
    rng = np.random.default_rng(seed)
    square, empty = np.full((height, width, 3), WHITE, np.uint8), np.full((height, width, 3), BLACK, np.uint8)
    weights = rng.random((height // side + 1, width // side + 1)).repeat(side, 0).repeat(side, 1)[:height, :width]
    true = curves(square, weights.astype(np.float32), brightness(weights), empty, side=side)
    other = curves(square, noise(square, seed), brightness(weights), empty, side=side)
    worst = curves(square, -weights.astype(np.float32), brightness(weights), empty, side=side)
    if min(height, width) % side == 0 and max(height, width) % side == 0:  # else places differ in size
        assert true.deletion_area <= other.deletion_area + 1e-4 <= worst.deletion_area + 2e-4
        assert true.insertion_area >= other.insertion_area - 1e-4 >= worst.insertion_area - 2e-4
    for found in (true, other, worst):
        assert found.deletion[0] == pytest.approx(weights.sum(), rel=1e-5)
        assert found.deletion[-1] == pytest.approx(0, abs=1e-5)
        assert found.insertion[0] == pytest.approx(0, abs=1e-5)
        assert found.insertion[-1] == pytest.approx(weights.sum(), rel=1e-5)


def test_places_are_taken_whole_and_in_order() -> None:
    square, empty = np.full((4, 4, 3), WHITE, np.uint8), np.zeros((4, 4, 3), np.uint8)
    relevance = np.zeros((4, 4), np.float32)
    relevance[2, 3], relevance[0, 0] = 5, -1
    seen = []

    def score(squares: np.ndarray) -> np.ndarray:
        seen.append(squares[..., 0] > 0)
        return np.zeros(len(squares))

    curves(square, relevance, score, empty, side=2, points=5)
    (kept,) = seen
    assert (~kept[1]).nonzero()[0].tolist() == [2, 2, 3, 3]  # the lower right place goes first
    assert (~kept[1]).nonzero()[1].tolist() == [2, 3, 2, 3]
    assert kept[3].sum() == 4
    assert kept[3][0, 0], "what speaks against goes last"
    assert (kept[:5] == ~kept[5:]).all()


def test_baselines_and_fillings() -> None:
    square = np.zeros((12, 12, 3), np.uint8)
    square[:, 6:] = 200
    assert (flat(square, (0.5, 0.0, 1.0))[3, 3] == [128, 0, 255]).all()
    assert blurred(square, 3.0).mean() == pytest.approx(square.mean(), abs=2)
    assert np.ptp(blurred(square, 30.0)) < 20
    assert set(edges(square).argmax(axis=1).tolist()) <= {5, 6}
    assert (noise(square, 1) == noise(square, 1)).all()
    assert (noise(square, 1) != noise(square, 2)).any()
    with pytest.raises(UsageError, match="do not fit"):
        curves(square, np.zeros((3, 3), np.float32), lambda s: np.zeros(len(s)), square)
    with pytest.raises(UsageError, match="at least 1 and 2"):
        curves(square, edges(square), lambda s: np.zeros(len(s)), square, points=1)
