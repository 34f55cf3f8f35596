"""The CPU engine's hand-laid loops write nothing outside their arrays, and nothing uninitialised reaches a result.

Every array is made inside a larger one full of NaN: what was read without having been written, or from outside, shows
as NaN in a result, and what was written outside shows in the margins.
"""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from leukonca.automaton import _firing, _packing, cpu
from leukonca.automaton._memory import LINE
from leukonca.automaton.fire import fire_mask
from leukonca.automaton.rule import Rule
from leukonca.errors import UsageError

from .rules import random_rule

MARGIN = 64
"""Rows before and after every array."""

NARROW = {"NUMBA_CPU_NAME": "generic"}
"""Numba then compiles for the oldest processor of the kind at hand, without AVX."""


class Margins:
    """Makes arrays as `_memory.aligned` and `_memory.borrow` do, and knows what lies around them."""

    def __init__(self) -> None:
        self.around: list[np.ndarray] = []

    def make(self, *shape: int) -> np.ndarray:
        wanted, margin = math.prod(shape), MARGIN * -(-shape[-1] // 16) * 16
        block = np.full(wanted + 2 * margin + LINE // 4, np.nan, np.float32)
        first = margin + -block[margin:].ctypes.data % LINE // 4
        self.around += [block[:first], block[first + wanted :]]
        return block[first : first + wanted].reshape(shape)

    def untouched(self) -> bool:
        return all(np.isnan(numbers).all() for numbers in self.around)


def everything(images: np.ndarray, rule: Rule, steps: int, rate: float, threads: int) -> list[bytes]:
    """The bits of states, recorded states, taped states and gradients."""
    seeds = np.arange(len(images), dtype=np.uint32)
    given = {"steps": steps, "fire_rate": rate, "seeds": seeds, "threads": threads}
    tape = cpu.rollout_taped(images, rule, **given)
    by_images, by_rule = cpu.rollout_backward(tape, np.cos(tape.states), rule, threads=threads)
    arrays = (cpu.rollout(images, rule, **given), cpu.rollout_recorded(images, rule, **given), tape.states, by_images)
    assert all(np.isfinite(array).all() for array in arrays)
    return [array.tobytes() for array in (*arrays, *vars(by_rule).values())]


@settings(max_examples=20, deadline=None)
@example(height=2, width=2, batch=1, channels=4, hidden=1, rate=1.0, threads=1, frozen=3)
@example(height=2, width=3, batch=1, channels=17, hidden=65, rate=1.0, threads=2, frozen=3)  # fewer than a block's rows
@example(height=9, width=8, batch=1, channels=49, hidden=33, rate=1.0, threads=1, frozen=3)  # one full tile
@example(height=40, width=40, batch=3, channels=81, hidden=48, rate=0.49, threads=2, frozen=48)  # shared by two threads
@example(height=2, width=2, batch=2, channels=17, hidden=5, rate=0.5, threads=2, frozen=16)
@example(height=41, width=33, batch=1, channels=33, hidden=113, rate=1.0, threads=3, frozen=3)
@given(
    height=st.integers(2, 30),
    width=st.integers(2, 30),
    batch=st.integers(1, 3),
    channels=st.integers(4, 90),
    hidden=st.integers(1, 130),
    rate=st.floats(0.01, 1.0),
    threads=st.integers(1, 3),
    frozen=st.sampled_from((3, 20, 48)),
)
def test_nothing_is_written_or_read_outside_and_nothing_uninitialised_counts(
    height: int, width: int, batch: int, channels: int, hidden: int, rate: float, threads: int, frozen: int
) -> None:
    rule = random_rule(max(channels, frozen + 1), hidden)
    images = np.random.default_rng(7).normal(size=(batch, frozen, height, width)).astype(np.float32)
    expected = everything(images, rule, 2, rate, threads)
    margins = Margins()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu, "aligned", margins.make)
        patch.setattr(cpu, "borrow", margins.make)
        patch.setattr(_packing, "aligned", margins.make)
        assert everything(images, rule, 2, rate, threads) == expected
    assert len(margins.around) > 20
    assert margins.untouched()


def test_a_large_grid() -> None:
    """512 x 512 cells with the fewest channels; a corner of it, cell by cell, in double precision."""
    side, rule = 512, random_rule(4, 3)
    images = np.random.default_rng(8).normal(size=(1, 3, side, side)).astype(np.float32)
    state = cpu.rollout(images, rule, steps=2, fire_rate=1.0, seeds=0, threads=2)[0]  # [H, W, C]
    assert state.shape == (side, side, 4)
    for corner in (np.s_[:8, :8], np.s_[-8:, -8:]):
        patch = np.zeros((8, 8, 4))
        patch[..., :3] = images[0].transpose(1, 2, 0)[corner]
        for _ in range(2):
            around = np.pad(patch, ((1, 1), (1, 1), (0, 0)), mode="reflect")
            windows = np.lib.stride_tricks.sliding_window_view(around, (3, 3), axis=(0, 1))  # [8, 8, C, 3, 3]
            views = np.einsum("rcnij,knij->rckn", windows, rule.kernels.astype(float)) + rule.kernel_bias
            seen = np.concatenate([patch[:, :, None], views], axis=2).reshape(8, 8, -1)
            change = np.maximum(seen @ rule.hidden_weight.T + rule.hidden_bias, 0) @ rule.update_weight.T
            patch[..., 3:] += change[..., 3:]
        # Two steps carry what lies beyond the patch two cells into it.
        inside = np.s_[:6, :6] if corner == np.s_[:8, :8] else np.s_[2:, 2:]
        np.testing.assert_allclose(state[corner][inside], patch[inside], rtol=1e-4, atol=1e-5)


def test_more_cells_than_can_be_counted_are_refused() -> None:
    images = np.broadcast_to(np.zeros((1, 3, 1, 1), np.float32), (1, 3, 50_000, 50_000))  # takes no memory
    with pytest.raises(UsageError, match=r"50000 x 50000 cells.*use 'torch'"):
        cpu.rollout(images, random_rule(4, 3), steps=1, fire_rate=0.5, seeds=0)


def test_firing_cells_are_those_of_the_mask() -> None:
    cells = np.full(9 * 14 + 1, -1, np.int32)
    for seed, step, rate in ((0, 0, 0.5), (2**32 - 1, 1000, 1.0), (7, 3, 0.01)):
        count = _firing.firing_cells(np.uint32(seed), step, 9, 14, np.uint64(cpu.fire_threshold(rate)), cells)
        assert cells[:count].tolist() == np.flatnonzero(fire_mask(seed, step, 9, 14, rate)).tolist()


def test_what_is_not_finite_stays_not_finite() -> None:
    """A gradient that overflowed must not come out as numbers that look right, nor touch other images."""
    rule = random_rule(9, 11)
    images = np.random.default_rng(9).normal(size=(2, 3, 6, 6)).astype(np.float32)
    tape = cpu.rollout_taped(images, rule, steps=3, fire_rate=1.0, seeds=np.zeros(2, np.uint32))
    gradient = np.ones((2, 6, 6, 9), np.float32)
    clean, _ = cpu.rollout_backward(tape, gradient, rule)
    for bad in (np.nan, np.inf):
        gradient[0, 3, 3, 5] = bad
        by_images, by_rule = cpu.rollout_backward(tape, gradient, rule)
        assert not np.isfinite(by_images[0]).all()
        np.testing.assert_array_equal(by_images[1], clean[1])
        assert not any(np.isfinite(array).all() for array in vars(by_rule).values())
    strong = Rule(*(1000 * array for array in vars(rule).values()))
    states = cpu.rollout(images, strong, steps=20, fire_rate=1.0, seeds=0)
    assert not np.isfinite(states[..., 3:]).all(axis=-1).any()


def test_blocks_follow_what_numba_compiles_for() -> None:
    """And the name under which code is kept follows the blocks."""
    code = "from leukonca.automaton import _stamped, _vectors; print(_vectors.WIDE, _stamped.STAMP)"

    def told(**environment: str) -> list[str]:
        words = [sys.executable, "-c", code]
        return subprocess.run(
            words, capture_output=True, text=True, check=True, env=os.environ | environment, timeout=300
        ).stdout.split()

    wide = told(NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="+avx512f")
    narrow = told(**NARROW)
    assert (wide[0], narrow[0]) == ("True", "False")
    assert wide[1] != narrow[1]


@pytest.mark.skipif("NUMBA_CPU_NAME" in os.environ, reason="this is the process that is started below")
def test_processors_with_short_registers() -> None:
    """The same tests where the blocks are smaller; on a machine that has no long registers these are all there are."""
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", __file__]
    words += [str(Path(__file__).with_name("test_engines.py")), "-k", "outside_and or equations and cpu or bits"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=os.environ | NARROW, timeout=600)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
