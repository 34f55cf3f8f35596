"""Relevance through the rollout: against autograd on the reference engine, and against the rule term by term."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leukonca.automaton import cpu, reference
from leukonca.automaton.fire import fire_mask
from leukonca.automaton.rule import Rule
from leukonca.errors import UsageError
from leukonca.explain.rollout import PixelRelevance, pixel_relevance

FIELDS = tuple(Rule.__dataclass_fields__)


def random_rule(channels: int, hidden: int, seed: int, *, biases: bool, dtype: type = np.float64) -> Rule:
    rng = np.random.default_rng(seed)
    arrays = {
        "kernels": rng.normal(scale=0.3, size=(2, channels, 3, 3)),
        "kernel_bias": rng.normal(scale=0.3, size=(2, channels)) * biases,
        "hidden_weight": rng.normal(scale=0.3, size=(hidden, 3 * channels)),
        "hidden_bias": rng.normal(scale=0.3, size=hidden) * biases,
        "update_weight": rng.normal(scale=0.3, size=(channels, hidden)),
    }
    return Rule(**{name: array.astype(dtype) for name, array in arrays.items()})


def run_reference(
    image: torch.Tensor, rule: Rule, steps: int, rate: float, seed: int
) -> tuple[torch.Tensor, np.ndarray]:
    """Last state [C, H, W] with its graph, and all states [steps + 1, H, W, C]."""
    tensors = [torch.from_numpy(getattr(rule, name)) for name in FIELDS]
    recorded = reference.rollout(
        image[None], *tensors, steps=steps, fire_rate=rate, seeds=np.array([seed], np.uint32), record=True
    )
    first = reference.first_state(image[None], rule.channels)[None]
    states = torch.cat([first, recorded])[:, 0].detach().permute(0, 2, 3, 1).contiguous().numpy()
    return recorded[-1, 0], states


def explain(states: np.ndarray, rule: Rule, signal: np.ndarray, rate: float, seed: int, epsilon: float):
    return pixel_relevance(states, rule, signal, fire_rate=rate, seed=seed, epsilon=epsilon, frozen=3)


def balance(found: PixelRelevance) -> float:
    return float(found.pixels.sum(dtype=float) + found.bias.sum() + found.absorbed.sum())


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(2, 7),
    width=st.integers(2, 7),
    channels=st.integers(4, 8),
    hidden=st.integers(1, 8),
    steps=st.integers(1, 6),
    rate=st.floats(0.1, 1.0),
    seed=st.integers(0, 2**32 - 1),
    biases=st.booleans(),
)
def test_without_epsilon_it_is_gradient_times_input(
    height: int, width: int, channels: int, hidden: int, steps: int, rate: float, seed: int, biases: bool
) -> None:
    rule = random_rule(channels, hidden, seed, biases=biases)
    rng = np.random.default_rng(seed)
    image = torch.from_numpy(rng.normal(size=(3, height, width))).requires_grad_()
    weights = rng.normal(size=(channels, height, width))
    last, states = run_reference(image, rule, steps, rate, seed)
    score = (last * torch.from_numpy(weights)).sum()
    score.backward()
    found = explain(states, rule, weights.transpose(1, 2, 0), rate, seed, 0.0)
    wanted = (image.grad * image).detach().permute(1, 2, 0).numpy()
    np.testing.assert_allclose(found.pixels, wanted, rtol=1e-9, atol=1e-11 * np.abs(wanted).max())
    scale = np.abs(last.detach().numpy() * weights).sum() + np.abs(found.bias).sum()
    assert abs(found.total - score.item()) <= 1e-10 * scale
    assert abs(balance(found) - found.total) <= 1e-10 * scale
    assert abs(found.read.sum() + found.direct - found.pixels.sum()) <= 1e-10 * scale
    assert not found.absorbed.any()
    if not biases:
        assert not found.bias.any()
        assert abs(found.pixels.sum() - score.item()) <= 1e-10 * scale


def slow_step(
    before: np.ndarray, after: np.ndarray, relevance: np.ndarray, rule: Rule, fires: np.ndarray, epsilon: float
) -> tuple[np.ndarray, float]:
    """One step by the rule itself, one sum at a time: states and relevance [C, H, W]; returns relevance and bias's."""
    channels, height, width = before.shape
    padded = np.pad(before, ((0, 0), (1, 1), (1, 1)), mode="reflect")
    rows = np.pad(np.arange(height), 1, mode="reflect")
    columns = np.pad(np.arange(width), 1, mode="reflect")
    firing = np.argwhere(fires)
    views, z, pair = {}, {}, (rule.kernels, rule.kernel_bias)
    for r, c in firing:
        patch = padded[:, r : r + 3, c : c + 3]
        views[r, c] = np.stack([(patch * k).sum(axis=(1, 2)) + b for k, b in zip(*pair, strict=True)])
        seen = np.concatenate([before[:, r, c], *views[r, c]])
        z[r, c] = rule.hidden_weight @ seen + rule.hidden_bias

    def share(sums: np.ndarray, all_sums: np.ndarray) -> np.ndarray:
        """1 / (z + epsilon sign z), epsilon relative to the root mean square over the firing cells."""
        scale = np.sqrt(np.mean(all_sums**2, axis=0))
        whole = sums + epsilon * scale * np.where(sums >= 0, 1, -1)
        return np.divide(1, whole, out=np.zeros_like(whole), where=whole != 0)

    all_after = np.array([after[:, r, c] for r, c in firing])
    all_hidden = np.array([np.maximum(z[r, c], 0) for r, c in firing])
    all_views = np.array([views[r, c] for r, c in firing])
    new, bias = relevance.copy(), 0.0
    for r, c in firing:
        new[3:, r, c] = 0
    for r, c in firing:
        hidden = np.maximum(z[r, c], 0)
        to_hidden = np.zeros(rule.hidden)
        per_sum = share(after[:, r, c], all_after)
        for k in range(3, channels):
            new[k, r, c] += before[k, r, c] * per_sum[k] * relevance[k, r, c]
            to_hidden += rule.update_weight[k] * hidden * per_sum[k] * relevance[k, r, c]
        seen = np.concatenate([before[:, r, c], *views[r, c]])
        to_seen = np.zeros(3 * channels)
        per_hidden = share(z[r, c], all_hidden)
        for j in np.flatnonzero(hidden > 0):
            to_seen += rule.hidden_weight[j] * seen * per_hidden[j] * to_hidden[j]
            bias += rule.hidden_bias[j] * per_hidden[j] * to_hidden[j]
        new[:, r, c] += to_seen[:channels]
        for view in (0, 1):
            per_view = share(views[r, c][view], all_views[:, view])
            received = to_seen[(view + 1) * channels : (view + 2) * channels] * per_view
            bias += float((rule.kernel_bias[view] * received).sum())
            for i in range(3):
                for j in range(3):
                    place = (slice(None), rows[r + i], columns[c + j])
                    new[place] += rule.kernels[view][:, i, j] * before[place] * received
    return new, bias


@settings(max_examples=12, deadline=None)
@given(
    height=st.integers(2, 5),
    width=st.integers(2, 5),
    steps=st.integers(1, 4),
    rate=st.sampled_from([0.5, 1.0]),
    seed=st.integers(0, 2**32 - 1),
    biases=st.booleans(),
    epsilon=st.sampled_from([1e-6, 0.01, 0.3]),
)
def test_equals_the_rule_sum_by_sum(
    height: int, width: int, steps: int, rate: float, seed: int, biases: bool, epsilon: float
) -> None:
    rule = random_rule(5, 6, seed, biases=biases)
    rng = np.random.default_rng(seed)
    image = torch.from_numpy(rng.normal(size=(3, height, width)))
    signal = rng.normal(size=(height, width, 5))
    _, states = run_reference(image, rule, steps, rate, seed)
    found = explain(states, rule, signal, rate, seed, epsilon)
    relevance = (states[-1] * signal).transpose(2, 0, 1)
    scale = np.abs(relevance).sum()
    for t in range(steps - 1, -1, -1):
        before, after = states[t].transpose(2, 0, 1), states[t + 1].transpose(2, 0, 1)
        total = relevance.sum()
        fires = fire_mask(seed, t, height, width, rate)
        relevance, bias = slow_step(before, after, relevance, rule, fires, epsilon)
        scale = max(scale, np.abs(relevance).sum())
        assert abs(found.bias[t] - bias) <= 1e-7 * scale
        assert abs(found.absorbed[t] - (total - relevance.sum() - bias)) <= 1e-7 * scale
    np.testing.assert_allclose(found.pixels, relevance[:3].transpose(1, 2, 0), rtol=1e-6, atol=1e-8 * scale)
    assert not relevance[3:].any()
    assert abs(balance(found) - found.total) <= 1e-9 * scale


def test_float32_on_the_fast_engine_agrees_with_float64() -> None:
    rule = random_rule(16, 24, 4, biases=True, dtype=np.float32)
    exact = Rule(*(getattr(rule, name).astype(np.float64) for name in FIELDS))
    image = np.random.default_rng(4).normal(size=(3, 20, 17)).astype(np.float32)
    signal = np.zeros((20, 17, 16))
    signal[7, 9] = np.random.default_rng(5).normal(size=16)
    recorded = cpu.rollout_recorded(image[None], rule, steps=8, fire_rate=0.5, seeds=3)[:, 0]
    first = np.zeros((1, 20, 17, 16), np.float32)
    first[0, :, :, :3] = image.transpose(1, 2, 0)
    _, states = run_reference(torch.from_numpy(image).double(), exact, 8, 0.5, 3)
    for epsilon in (0.0, 0.05):
        fast = explain(np.concatenate([first, recorded]), rule, signal.astype(np.float32), 0.5, 3, epsilon)
        slow = explain(states, exact, signal, 0.5, 3, epsilon)
        assert fast.pixels.dtype == np.float32
        assert np.abs(fast.pixels - slow.pixels).max() <= 1e-4 * np.abs(slow.pixels).max()


def test_only_the_neighbourhood_that_was_seen_is_relevant() -> None:
    """k steps see k cells far: relevance of one cell stays within that square."""
    rule = random_rule(6, 24, 1, biases=False)
    image = torch.from_numpy(np.random.default_rng(1).normal(size=(3, 15, 15)))
    _, states = run_reference(image, rule, 2, 1.0, 0)
    signal = np.zeros((15, 15, 6))
    signal[4, 11] = np.random.default_rng(2).normal(size=6)
    found = explain(states, rule, signal, 1.0, 0, 0.01)
    near = np.zeros((15, 15), bool)
    near[2:7, 9:14] = True
    assert not found.pixels[~near].any()
    near[3:6, 10:13] = False
    assert found.pixels[near].any(axis=-1).sum() > 8, "two steps reach the square's rim"


def test_what_does_not_fit_is_refused() -> None:
    rule = random_rule(5, 4, 0, biases=True)
    states = np.zeros((3, 4, 4, 5))
    with pytest.raises(UsageError, match="expected"):
        explain(states, rule, np.zeros((4, 4, 4)), 0.5, 0, 0.0)
    with pytest.raises(UsageError, match="must not be negative"):
        explain(states, rule, np.zeros((4, 4, 5)), 0.5, 0, -0.1)
