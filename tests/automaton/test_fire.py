import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leukonca import UsageError, fire_mask
from leukonca.automaton import _firing
from leukonca.automaton.fire import fire_threshold

WORD = 2**32


def murmur_finaliser(h: int) -> int:
    """MurmurHash3's 32-bit finaliser in Python's unbounded integers."""
    h ^= h >> 16
    h = h * 0x85EBCA6B % WORD
    h ^= h >> 13
    h = h * 0xC2B2AE35 % WORD
    return h ^ (h >> 16)


def hash_of(*values: int) -> int:
    h = 0
    for value in values:
        h = murmur_finaliser(h ^ ((value + 0x9E3779B9) % WORD))
    return h


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, WORD - 1), step=st.integers(0, 200), rate=st.floats(0.01, 1.0),
    height=st.integers(1, 9), width=st.integers(1, 9),
)  # fmt: skip
def test_mask_is_the_documented_hash(seed: int, step: int, rate: float, height: int, width: int) -> None:
    expected = [[hash_of(seed, step, r, c) < round(rate * WORD) for c in range(width)] for r in range(height)]
    mask = fire_mask(seed, step, height, width, rate)
    assert mask.dtype == np.bool_
    assert mask.tolist() == expected
    cells = np.empty(height * width, np.int32)
    count = _firing.firing_cells(np.uint32(seed), step, height, width, np.uint64(fire_threshold(rate)), cells)
    assert cells[:count].tolist() == np.flatnonzero(mask).tolist()


def test_masks_of_known_seeds_never_change() -> None:
    """Written down once, so that an old model's predictions stay what they were."""
    rows = ["".join("x" if fires else "." for fires in row) for row in fire_mask(0, 0, 4, 12)]
    assert rows == KNOWN


KNOWN = [
    "xx..xx.x.xxx",
    ".xxxxx.x..x.",
    "..xxx..x.x.x",
    "xxxx...x...x",
]


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_share_and_independence(rate: float) -> None:
    masks = np.stack([fire_mask(seed, step, 64, 64, rate) for seed in range(4) for step in range(8)]).astype(float)
    deviation = np.sqrt(rate * (1 - rate) / masks.size)
    assert abs(masks.mean() - rate) < 5 * deviation
    flat = masks.reshape(len(masks), -1)
    correlation = np.corrcoef(flat) - np.eye(len(flat))
    assert np.abs(correlation).max() < 5 / np.sqrt(flat.shape[1])
    for shift in [(1, 0), (0, 1), (1, 1)]:
        moved = np.roll(masks, shift, axis=(1, 2))
        assert abs(((masks - rate) * (moved - rate)).mean()) < 5 * rate * (1 - rate) / np.sqrt(masks.size)


def test_rate_one_fires_every_cell() -> None:
    assert fire_mask(5, 3, 40, 40, 1.0).all()


@pytest.mark.parametrize(
    "bad", [{"seed": -1}, {"seed": WORD}, {"seed": 1.5}, {"rate": 0.0}, {"rate": 1.1}, {"step": -1}]
)
def test_impossible_arguments_are_refused(bad: dict[str, float]) -> None:
    arguments = {"seed": 0, "step": 0, "height": 3, "width": 3, "rate": 0.5, **bad}
    with pytest.raises(UsageError):
        fire_mask(**arguments)
