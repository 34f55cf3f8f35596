"""The epsilon rule against the formula in slow loops, and against autograd."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leukonca.errors import ModelError, UsageError
from leukonca.explain.head import Head, head_relevance


def random_head(channels: int, hidden: int, classes: int, seed: int, *, biases: bool) -> tuple[Head, np.ndarray]:
    rng = np.random.default_rng(seed)
    first, last = rng.normal(size=(hidden, channels)), rng.normal(size=(classes, hidden))
    b0, b1 = (rng.normal(size=n) if biases else np.zeros(n) for n in (hidden, classes))
    return Head(first, b0, last, b1), rng.normal(size=channels)


def slow_layer(
    inputs: list[float], weights: np.ndarray, bias: np.ndarray, relevance: list[float], epsilon: float
) -> tuple[list[float], float, float]:
    """Formula of the paper, term by term: relevance of the inputs, of the biases, and what epsilon keeps."""
    below, to_bias = [0.0] * len(inputs), 0.0
    for k, received in enumerate(relevance):
        z = sum(inputs[j] * weights[k][j] for j in range(len(inputs))) + bias[k]
        whole = z + epsilon * (1 if z >= 0 else -1)
        if received == 0:
            continue
        for j in range(len(inputs)):
            below[j] += inputs[j] * weights[k][j] / whole * received
        to_bias += bias[k] / whole * received
    return below, to_bias, sum(relevance) - sum(below) - to_bias


def slow_relevance(head: Head, features: np.ndarray, target: int, epsilon: float) -> tuple[list[float], float, float]:
    before = [float(sum(w * f for w, f in zip(row, features, strict=True))) for row in head.first]
    hidden = [max(0.0, z + b) for z, b in zip(before, head.first_bias, strict=True)]
    logits = [sum(w * h for w, h in zip(row, hidden, strict=True)) for row in head.last]
    top = [logits[k] + head.last_bias[k] if k == target else 0.0 for k in range(len(logits))]
    middle, bias_above, kept_above = slow_layer(hidden, head.last, head.last_bias, top, epsilon)
    channels, bias_below, kept_below = slow_layer(list(features), head.first, head.first_bias, middle, epsilon)
    return channels, bias_above + bias_below, kept_above + kept_below


@settings(max_examples=60, deadline=None)
@given(
    channels=st.integers(1, 9),
    hidden=st.integers(1, 9),
    classes=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
    biases=st.booleans(),
    epsilon=st.sampled_from([1e-9, 1e-6, 0.01, 0.5, 3.0]),
)
def test_equals_the_formula(channels: int, hidden: int, classes: int, seed: int, biases: bool, epsilon: float) -> None:
    head, features = random_head(channels, hidden, classes, seed, biases=biases)
    target = seed % classes
    found = head_relevance(features, head, target, epsilon=epsilon)
    wanted, bias, absorbed = slow_relevance(head, features, target, epsilon)
    scale = max(1.0, np.abs(wanted).max(), abs(bias))
    np.testing.assert_allclose(found.channels, wanted, rtol=1e-7, atol=1e-8 * scale)
    assert math.isclose(found.bias, bias, rel_tol=1e-7, abs_tol=1e-8 * scale)
    assert math.isclose(found.absorbed, absorbed, rel_tol=1e-6, abs_tol=1e-8 * scale)
    np.testing.assert_allclose(found.signal * features, found.channels)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), biases=st.booleans())
def test_without_epsilon_it_is_gradient_times_input_and_adds_up(seed: int, biases: bool) -> None:
    head, features = random_head(12, 10, 4, seed, biases=biases)
    found = head_relevance(features, head, 2, epsilon=0)
    x = torch.from_numpy(features).requires_grad_()
    parts = [torch.from_numpy(array) for array in vars(head).values()]
    logit = (parts[2] @ (parts[0] @ x + parts[1]).relu() + parts[3])[2]
    logit.backward()
    np.testing.assert_allclose(found.signal, x.grad.numpy(), rtol=1e-10, atol=1e-12)
    assert math.isclose(found.logit, logit.item(), rel_tol=1e-10, abs_tol=1e-12)
    assert math.isclose(found.logit, float(head.logits(features)[2]), rel_tol=1e-10, abs_tol=1e-12)
    assert abs(found.absorbed) < 1e-10
    assert math.isclose(found.channels.sum() + found.bias, found.logit, rel_tol=1e-9, abs_tol=1e-10)
    if not biases:
        assert found.bias == 0


def test_a_sum_of_zero_passes_nothing_on_and_nothing_breaks() -> None:
    head = Head(np.array([[1.0, -1.0]]), np.zeros(1), np.array([[2.0]]), np.zeros(1))
    for epsilon in (0.0, 0.1):
        found = head_relevance(np.array([3.0, 3.0]), head, 0, epsilon=epsilon)
        assert found.channels.tolist() == [0.0, 0.0]
        assert found.logit == 0


def test_what_does_not_fit_is_refused() -> None:
    head, features = random_head(4, 3, 2, 0, biases=True)
    with pytest.raises(UsageError, match="class number 2: there are 2"):
        head_relevance(features, head, 2)
    with pytest.raises(UsageError, match="this head takes"):
        head_relevance(features[:3], head, 0)
    with pytest.raises(UsageError, match="must not be negative"):
        head_relevance(features, head, 0, epsilon=-1.0)
    with pytest.raises(ModelError, match="do not belong together"):
        Head(head.first, head.first_bias, head.last[:, :2], head.last_bias)
