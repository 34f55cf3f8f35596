"""Every engine against the equations, written step by step in NumPy float64 from the paper's text."""

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import leukonca
from leukonca.automaton import cpu, engines, reference, torch_engine
from leukonca.automaton.fire import fire_mask, fire_threshold
from leukonca.automaton.names import EngineName
from leukonca.automaton.rule import Rule
from leukonca.errors import UsageError

from .rules import random_rule

FIELDS = tuple(Rule.__dataclass_fields__)
HERE = tuple(name for name in engines.ENGINES if name != "triton")
"""Engines that work on a processor; the triton engine is tested in test_triton.py."""


def numpy_rollout(image: np.ndarray, rule: Rule, steps: int, rate: float, seed: int) -> np.ndarray:
    """One image [K, H, W], one cell at a time; returns [C, H, W] float64."""
    frozen, height, width = image.shape
    state = np.zeros((rule.channels, height, width))
    state[:frozen] = image
    for step in range(steps):
        padded = np.pad(state, ((0, 0), (1, 1), (1, 1)), mode="reflect")
        fires = fire_mask(seed, step, height, width, rate)
        new = state.copy()
        for r in range(height):
            for c in range(width):
                if fires[r, c]:
                    patch = padded[:, r : r + 3, c : c + 3]
                    views = [(patch * rule.kernels[k]).sum(axis=(1, 2)) + rule.kernel_bias[k] for k in (0, 1)]
                    seen = np.concatenate([state[:, r, c], *views])
                    hidden = np.maximum(rule.hidden_weight.astype(float) @ seen + rule.hidden_bias, 0)
                    new[:, r, c] += rule.update_weight.astype(float) @ hidden
        new[:frozen] = image
        state = new
    return state


def images(batch: int, height: int, width: int, seed: int = 1, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(batch, channels, height, width)).astype(np.float32)


@pytest.mark.parametrize("engine", HERE)
@pytest.mark.parametrize(
    ("height", "width", "frozen"), [(6, 6, 3), (2, 2, 3), (5, 9, 3), (4, 3, 12), (3, 3, 1), (5, 4, 48), (2, 2, 20)]
)
def test_engine_follows_the_equations(engine: str, height: int, width: int, frozen: int) -> None:
    rule, batch = random_rule(frozen + 2, 7), images(2, height, width, channels=frozen)
    tensors = [torch.from_numpy(getattr(rule, name)) for name in FIELDS]
    seeds = np.array([3, 4_000_000_000], np.uint32)
    states = engines.run(
        engine, torch.from_numpy(batch), tuple(tensors), steps=4, fire_rate=0.5, seeds=seeds, record=False
    )
    for image, seed, state in zip(batch, seeds, states, strict=True):
        expected = numpy_rollout(image, rule, 4, 0.5, int(seed))
        np.testing.assert_allclose(state.numpy(), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@settings(max_examples=15, deadline=None)
@given(
    height=st.integers(2, 20),
    width=st.integers(2, 20),
    batch=st.integers(1, 4),
    channels=st.integers(4, 21),
    hidden=st.integers(1, 19),
    steps=st.integers(1, 5),
    rate=st.floats(0.05, 1.0),
    seed=st.integers(0, 2**32 - 1),
    one_seed=st.booleans(),
    frozen=st.sampled_from((3, 12, 35, 48)),
)
def test_fast_engines_equal_the_float64_reference(
    height: int,
    width: int,
    batch: int,
    channels: int,
    hidden: int,
    steps: int,
    rate: float,
    seed: int,
    one_seed: bool,
    frozen: int,
) -> None:
    channels = max(channels, frozen + 1)
    rule, pictures = random_rule(channels, hidden, seed), images(batch, height, width, seed, frozen)
    seeds = np.full(batch, seed, np.uint32) if one_seed else np.arange(seed, seed + batch).astype(np.uint32)
    given_settings = {"steps": steps, "fire_rate": rate, "seeds": seeds, "record": False}
    runs = {}
    for engine in HERE:
        dtype = torch.float64 if engine == "reference" else torch.float32
        tensors = [torch.from_numpy(getattr(rule, name)).to(dtype).requires_grad_() for name in FIELDS]
        x = torch.from_numpy(pictures).to(dtype).requires_grad_()
        state = engines.run(engine, x, tuple(tensors), **given_settings)
        weights = torch.from_numpy(np.random.default_rng(5).normal(size=tuple(state.shape))).to(dtype)
        (state * weights).sum().backward()
        runs[engine] = [state.detach(), *(tensor.grad for tensor in (x, *tensors))]
    for engine, results in runs.items():
        for name, exact, fast in zip(("state", "images", *FIELDS), runs["reference"], results, strict=True):
            scale = float(exact.abs().max()) or 1.0
            assert float((fast - exact).abs().max()) <= 1e-4 * scale, f"{engine}: {name}"


@pytest.mark.parametrize("engine", ["cpu", "torch"])
def test_fast_engines_equal_the_float64_reference_over_the_papers_steps_and_channels(engine: str) -> None:
    """Preset paper's automaton, all 64 steps, on fewer cells; weights that keep it from exploding."""
    architecture = leukonca.NCAClassifier(preset="paper").architecture
    assert (architecture.channels, architecture.steps) == (128, 64)
    rule, pictures = random_rule(128, architecture.hidden, seed=3, size=0.03), images(1, 13, 22)
    runs = []
    for name, dtype in ((engine, torch.float32), ("reference", torch.float64)):
        tensors = [torch.from_numpy(getattr(rule, field)).to(dtype).requires_grad_() for field in FIELDS]
        x = torch.from_numpy(pictures).to(dtype).requires_grad_()
        seeds = np.array([11], np.uint32)
        state = engines.run(name, x, tuple(tensors), steps=64, fire_rate=0.5, seeds=seeds, record=False)
        state.amax(dim=(2, 3)).square().sum().backward()
        runs.append([state.detach(), *(tensor.grad for tensor in (x, *tensors))])
    size = float(runs[1][0].abs().max())
    assert 1 < size < 1000
    for name, fast, exact in zip(("state", "images", *FIELDS), *runs, strict=True):
        error = float((fast - exact).abs().max() / exact.abs().max())
        assert error <= (1e-4 if name == "state" else 1e-3), name


def test_reference_gradients_against_finite_differences() -> None:
    rule = random_rule(4, 3)
    tensors = [torch.from_numpy(getattr(rule, name)).double().requires_grad_() for name in FIELDS]
    x = torch.from_numpy(images(1, 3, 4)).double().requires_grad_()

    def run(*arguments: torch.Tensor) -> torch.Tensor:
        return reference.rollout(*arguments, steps=2, fire_rate=0.5, seeds=np.array([7], np.uint32))

    assert torch.autograd.gradcheck(run, (x, *tensors))


def test_torch_engine_fires_the_documented_cells() -> None:
    seeds = np.array([0, 7, 2**32 - 1], np.uint32)
    for step, rate in ((0, 0.5), (63, 0.25), (1000, 1.0)):
        numbers = torch.from_numpy(seeds.astype(np.int64))
        flat = torch_engine._firing_cells(numbers, step, 9, 14, fire_threshold(rate))
        masks = np.stack([fire_mask(int(seed), step, 9, 14, rate) for seed in seeds])
        assert flat.tolist() == np.flatnonzero(masks).tolist()


@pytest.mark.parametrize("frozen", [3, 48])
def test_a_gradient_of_another_shape_is_refused(frozen: int) -> None:
    rule = random_rule(frozen + 4, 6)
    tape = cpu.rollout_taped(
        images(2, 4, 5, channels=frozen), rule, steps=2, fire_rate=0.5, seeds=np.arange(2, dtype=np.uint32)
    )
    with pytest.raises(UsageError, match=r"\(2, 4, 5, 4\); the states have \(2, 4, 5, "):
        cpu.rollout_backward(tape, tape.states[..., :4].copy(), rule)


def test_same_bits_whatever_the_batch_and_the_threads() -> None:
    rule, batch = random_rule(12, 16), images(5, 11, 13)
    together = cpu.rollout(batch, rule, steps=6, fire_rate=0.5, seeds=9, threads=2)
    alone = np.concatenate(
        [cpu.rollout(batch[i : i + 1], rule, steps=6, fire_rate=0.5, seeds=9, threads=1) for i in range(5)]
    )
    assert together.tobytes() == alone.tobytes()
    seeds = np.arange(5, dtype=np.uint32)
    gradients = []
    for threads in (1, 2):
        tape = cpu.rollout_taped(batch, rule, steps=6, fire_rate=0.5, seeds=seeds, threads=threads)
        gradients.append(cpu.rollout_backward(tape, tape.states, rule, threads=threads)[1])
    assert all(getattr(gradients[0], name).tobytes() == getattr(gradients[1], name).tobytes() for name in FIELDS)


def test_recorded_states_end_in_the_last_and_start_at_the_first_step() -> None:
    model = leukonca.NCAClassifier(preset="tiny")
    torch.nn.init.normal_(model.update_weight, std=0.1)
    x = torch.from_numpy(images(2, 8, 6))
    with torch.no_grad():
        states = model.rollout(x, steps=5, seed=2, record=True)
        assert states.shape == (5, 2, 16, 8, 6)
        for steps in (1, 3, 5):
            assert torch.equal(states[steps - 1], model.rollout(x, steps=steps, seed=2))
    assert torch.equal(states[:, :, :3], x.expand(5, -1, -1, -1, -1))


def test_a_wrong_engine_dtype_or_device_says_what_to_do() -> None:
    with pytest.raises(UsageError, match="there are auto, reference, cpu, torch, triton"):
        leukonca.NCAClassifier(preset="tiny", engine="gpu")
    model = leukonca.NCAClassifier(preset="tiny", engine="cpu").double()
    with pytest.raises(UsageError, match=r"\.to\('cpu', torch.float32\)"):
        model(torch.zeros(1, 3, 8, 8, dtype=torch.float64))
    with pytest.raises(UsageError, match=r"float32 on cpu, the model is torch\.float64"):
        model(torch.zeros(1, 3, 8, 8))
    meta = leukonca.NCAClassifier(preset="tiny").to("meta")
    with pytest.raises(UsageError, match="move one"):
        meta(torch.zeros(1, 3, 8, 8))


def test_the_command_line_knows_every_engine() -> None:
    assert get_args(EngineName) == ("auto", *engines.ENGINES)
