"""The classifier's contract: size, shapes, seeds, batches and refusals."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import leukonca
from leukonca.errors import DataError, ModelError, UsageError
from leukonca.models.presets import Architecture, preset


def lively(**settings: Any) -> leukonca.NCAClassifier:
    """A small model whose answers depend on everything."""
    torch.manual_seed(1)
    model = leukonca.NCAClassifier(preset="tiny", **settings)
    torch.nn.init.normal_(model.update_weight, std=0.15)
    return model.eval()


def pictures(batch: int, height: int = 9, width: int = 7, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(batch, 3, height, width)).astype(np.float32))


def test_the_paper_model_has_exactly_86413_parameters() -> None:
    model = leukonca.NCAClassifier(preset="paper")
    size = {name: value.numel() for name, value in model.named_parameters()}
    assert sum(size.values()) == 86_413
    assert all(value.requires_grad for value in model.parameters())
    assert model.kernels[0].numel() + model.kernel_bias[0].numel() == 1280  # p0
    assert model.kernels[1].numel() + model.kernel_bias[1].numel() == 1280  # p1
    assert size["hidden_weight"] + size["hidden_bias"] == 49_280  # fc0
    assert size["update_weight"] == 16_384  # fc1
    assert size["head.0.weight"] + size["head.0.bias"] == 16_512  # fc2
    assert size["head.2.weight"] + size["head.2.bias"] == 1_677  # fc3
    assert leukonca.NCAClassifier(num_classes=13).config.classes == leukonca.CLASSES


@pytest.mark.parametrize("name", ["paper", "compact", "tiny"])
def test_parameters_of_every_preset_follow_the_formula(name: str) -> None:
    architecture = preset(name)
    assert isinstance(architecture, Architecture)
    n, h = architecture.channels, architecture.hidden
    wanted = 2 * (9 * n + n) + (3 * n * h + h) + h * n + (n * h + h) + (h * 13 + 13)
    assert sum(value.numel() for value in leukonca.NCAClassifier(preset=name).parameters()) == wanted


def test_an_untrained_automaton_changes_nothing() -> None:
    model = leukonca.NCAClassifier(preset="tiny")
    assert not model.update_weight.any()
    x = pictures(2)
    state = model.rollout(x, seed=3)
    assert torch.equal(state[:, :3], x)
    assert not state[:, 3:].any()


def test_logits_are_head_of_the_largest_values() -> None:
    model, x = lively(), pictures(4)
    with torch.no_grad():
        state, logits = model.rollout(x, seed=5), model(x, seed=5)
    largest = state.double().numpy().reshape(4, 16, -1).max(axis=2)
    first, _, last = model.head
    w0, b0, w1, b1 = (value.detach().double().numpy() for value in (first.weight, first.bias, last.weight, last.bias))
    expected = np.maximum(largest @ w0.T + b0, 0) @ w1.T + b1
    np.testing.assert_allclose(logits.numpy(), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(model.features(x, seed=5).detach().numpy(), state.numpy().max(axis=(2, 3)))


@settings(max_examples=15, deadline=None)
@given(height=st.integers(2, 40), width=st.integers(2, 40), batch=st.integers(1, 3), seed=st.integers(0, 2**32 - 1))
def test_any_grid_of_two_or_more(height: int, width: int, batch: int, seed: int) -> None:
    model, x = lively(steps=3), pictures(batch, height, width, seed)
    with torch.no_grad():
        logits, states = model(x, seed=seed), model.rollout(x, seed=seed, record=True)
    assert logits.shape == (batch, 13)
    assert bool(torch.isfinite(logits).all())
    assert states.shape == (3, batch, 16, height, width)
    assert torch.equal(states[:, :, :3], x.expand(3, -1, -1, -1, -1))


def test_an_image_gets_the_same_answer_in_any_batch() -> None:
    model, x = lively(), pictures(7)
    with torch.no_grad():
        together = model(x, seed=2)
        for size in (1, 3, 5):
            parts = torch.cat([model(part, seed=2) for part in x.split(size)])
            torch.testing.assert_close(parts, together, rtol=1e-6, atol=1e-6)
        order = torch.tensor([4, 0, 6, 2, 1, 3, 5])
        torch.testing.assert_close(model(x[order], seed=2), together[order], rtol=1e-6, atol=1e-6)


def test_one_seed_for_all_or_one_an_image() -> None:
    model = lively()
    x = pictures(1).expand(3, -1, -1, -1)
    with torch.no_grad():
        shared = model(x, seed=11)
        assert torch.equal(shared[0], shared[1])
        for seeds in ([11, 12, 11], np.array([11, 12, 11], np.uint32), torch.tensor([11, 12, 11])):
            own = model(x, seed=seeds)
            torch.testing.assert_close(own[[0, 2]], shared[[0, 2]], rtol=1e-6, atol=1e-6)
            torch.testing.assert_close(own[1:2], model(x[:1], seed=12), rtol=1e-6, atol=1e-6)
        assert (model(x, seed=12) - shared).abs().max() > 1e-3


def test_no_random_generator_is_read_or_moved() -> None:
    model, x = lively(), pictures(2)
    torch.manual_seed(0)
    before, first = torch.get_rng_state(), model(x, seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert torch.equal(model(x, seed=4), first)


def test_gradients_reach_every_parameter() -> None:
    model = lively()
    model(pictures(2), seed=1).square().sum().backward()
    for name, value in model.named_parameters():
        assert value.grad is not None
        assert float(value.grad.abs().max()) > 0, name


def test_number_and_names_of_classes() -> None:
    seven = leukonca.NCAClassifier(preset="tiny", num_classes=7)
    assert seven(pictures(2)).shape == (2, 7)
    assert seven.config.classes == tuple(f"class_{i}" for i in range(7))
    named = leukonca.NCAClassifier(preset="tiny", classes=("round", "long"))
    assert named(pictures(1)).shape == (1, 2)
    assert named.config.classes == ("round", "long")


@pytest.mark.parametrize(
    ("given_settings", "words"),
    [
        ({"num_classes": 0}, "num_classes is 0"),
        ({"num_classes": 7.0}, "num_classes is 7.0"),
        ({"num_classes": True}, "num_classes is True"),
        ({"num_classes": 3, "classes": ("a", "b")}, "num_classes is 3, but 2"),
        ({"classes": ()}, "at least one"),
        ({"classes": ("a", "a")}, "distinct"),
        ({"classes": "abc"}, "tuple"),
        ({"preset": "resnext"}, "an automaton is needed"),
        ({"preset": "big"}, "there are paper, compact, tiny, resnext"),
        ({"channels": 2}, "channels is 2"),
        ({"pooling": "median"}, "there are max, mean, topk, attention"),
    ],
)
def test_models_that_cannot_be_are_refused(given_settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        leukonca.NCAClassifier(**{"preset": "tiny", **given_settings})


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.zeros(1, 4, 8, 8), r"\(1, 4, 8, 8\); expected \[B, 3, H, W\]"),
        (torch.zeros(1, 8, 8, 3), r"\(1, 8, 8, 3\); expected \[B, 3, H, W\]"),
        (torch.zeros(3, 8, 8), r"\(3, 8, 8\); expected \[B, 3, H, W\]"),
        (torch.zeros(0, 3, 8, 8), "at least one image"),
        (torch.zeros(1, 3, 1, 8), "H and W of at least 2"),
        (torch.zeros(1, 3, 8, 0), "H and W of at least 2"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "torch.uint8 tensor; expected a normalised float"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.int64), "torch.int64 tensor"),
        (np.zeros((1, 3, 8, 8), np.float32), "ndarray; expected a normalised float"),
        (None, "NoneType"),
    ],
)
def test_wrong_images_are_refused_with_what_was_got_and_expected(images: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        lively()(images)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_images_that_are_not_finite_are_refused(value: float) -> None:
    x = pictures(2)
    x[1, 2, 0, 3] = value
    with pytest.raises(DataError, match="NaN or infinite"):
        lively()(x)


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, True, None, "7", [1], [1, 2, 3], [[1, 2]], []])
def test_wrong_seeds_are_refused(seed: Any) -> None:
    with pytest.raises(UsageError, match="seed"):
        lively()(pictures(2), seed=seed)


@pytest.mark.parametrize("steps", [0, -1, 2.5, True])
def test_wrong_numbers_of_steps_are_refused(steps: Any) -> None:
    with pytest.raises(UsageError, match="steps is"):
        lively().rollout(pictures(1), steps=steps)


def test_every_refusal_is_a_value_error() -> None:
    assert issubclass(UsageError, ValueError)
    assert issubclass(DataError, ValueError)
    assert issubclass(ModelError, ValueError)
