"""What engines are given by users: strides, repeats, hardly any firing, cards that Triton cannot use."""

import gc
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from leukonca.automaton import _memory, engines
from leukonca.errors import UsageError

HERE = ("reference", "cpu", "torch")
CARD = torch.device("cuda", 0)


def given(batch: int = 2, height: int = 5, width: int = 7, channels: int = 6, hidden: int = 9) -> list[Tensor]:
    """Images and the five parameters."""
    rng = np.random.default_rng(4)
    shapes = (2, channels, 3, 3), (2, channels), (hidden, 3 * channels), (hidden,), (channels, hidden)
    arrays = [rng.normal(size=(batch, 3, height, width)), *(rng.normal(scale=0.2, size=shape) for shape in shapes)]
    return [torch.from_numpy(array.astype(np.float32)) for array in arrays]


def run(engine: str, tensors: list[Tensor], rate: float = 0.5, *, turned: bool = False) -> list[Tensor]:
    """Last states, and gradients by the tensors of a fixed random sum of them."""
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    passed = [across(leaf) for leaf in leaves] if turned else leaves
    seeds = np.arange(len(tensors[0]), dtype=np.uint32)
    states = engines.run(
        engine, passed[0], tuple(passed[1:]), steps=4, fire_rate=rate, seeds=seeds, record=False
    )  # fmt: skip
    weights = torch.from_numpy(np.random.default_rng(5).normal(size=tuple(states.shape)).astype(np.float32))
    # The gradient that comes back has strides of its own as well.
    (states.transpose(-1, -2) * weights.transpose(-1, -2)).sum().backward()
    return [states.detach(), *(leaf.grad for leaf in leaves)]


def across(tensor: Tensor) -> Tensor:
    """The same values, with gaps between them and the axes in another order in memory."""
    order = tuple(reversed(range(tensor.ndim)))
    wide = tensor.permute(order).repeat_interleave(2, dim=0)[::2]
    assert tensor.ndim == 1 or not wide.permute(order).is_contiguous()
    return wide.permute(order)


@pytest.mark.parametrize("engine", HERE)
def test_same_bits_on_repeats_and_whatever_the_strides(engine: str) -> None:
    tensors = given()
    first, again, turned = (run(engine, tensors, turned=turned) for turned in (False, False, True))
    for a, b, c in zip(first, again, turned, strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(c, a, rtol=1e-5, atol=1e-5 * float(a.abs().max()))


@pytest.mark.parametrize("engine", HERE)
def test_where_no_cell_fires_the_image_stays_and_no_parameter_has_a_gradient(engine: str) -> None:
    tensors = given()
    states, by_images, *by_rule = run(engine, tensors, rate=1e-9)
    assert torch.equal(states[:, :3], tensors[0])
    assert not states[:, 3:].any()
    weights = np.random.default_rng(5).normal(size=tuple(states.shape)).astype(np.float32)
    np.testing.assert_array_equal(by_images.numpy(), weights[:, :3])
    assert not any(gradient.any() for gradient in by_rule)


@pytest.mark.parametrize(("engine", "changed"), [*((engine, "rule") for engine in HERE), ("cpu", "state")])
def test_a_backward_pass_after_a_change_in_place_is_refused(engine: str, changed: str) -> None:
    """As everywhere in torch: the gradients would be wrong."""
    images, *rule = given()
    leaves = [tensor.requires_grad_() for tensor in rule]
    seeds = np.zeros(len(images), np.uint32)
    states = engines.run(engine, images, tuple(leaves), steps=2, fire_rate=0.5, seeds=seeds, record=False)
    loss = states.sum()  # which needs no states in its own backward pass
    with torch.no_grad():
        (states if changed == "state" else leaves[-1]).add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_the_tape_is_gone_after_the_backward_pass_also_while_the_loss_is_kept() -> None:
    """Or a training loop, which holds one loss while it makes the next, would need the memory of two."""
    images, *rule = given()
    leaves = [tensor.requires_grad_() for tensor in rule]

    def loss() -> Tensor:
        settings = {"steps": 3, "fire_rate": 0.5, "seeds": np.zeros(len(images), np.uint32), "record": False}
        return engines.run("cpu", images, tuple(leaves), **settings).square().sum()

    gc.collect()
    _memory._spares.clear()
    first = loss()
    assert not _memory._spares
    first.backward(retain_graph=True)
    once = [leaf.grad.clone() for leaf in leaves if leaf.grad is not None]
    assert not _memory._spares
    first.backward()
    assert all(torch.equal(leaf.grad, 2 * gradient) for leaf, gradient in zip(leaves, once, strict=True))
    assert len(_memory._spares) == 2 * len(images)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        first.backward()
    _memory._spares.clear()


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """As if a Hopper card were there; what is asked of it must be put in its place."""
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    engines._triton_compiles_for.cache_clear()
    yield monkeypatch
    engines._triton_compiles_for.cache_clear()


def test_auto_takes_triton_on_a_card_where_it_works(card: pytest.MonkeyPatch) -> None:
    from leukonca.automaton import triton_engine

    card.setattr(triton_engine, "try_out", lambda device: None)
    assert engines.chosen("auto", CARD, torch.float32) == "triton"
    assert engines.chosen("auto", CARD, torch.float64) == "torch"
    assert engines.chosen("auto", torch.device("cpu"), torch.float32) == "cpu"
    assert engines.chosen("auto", torch.device("mps"), torch.float32) == "torch"


def test_auto_takes_torch_on_a_card_where_triton_fails_and_says_why(card: pytest.MonkeyPatch) -> None:
    from leukonca.automaton import triton_engine

    def fail(device: torch.device) -> None:
        raise RuntimeError("Failed to find C compiler")

    card.setattr(triton_engine, "try_out", fail)
    with pytest.warns(UserWarning, match="'torch' in place of 'triton'.*C compiler"):
        assert engines.chosen("auto", CARD, torch.float32) == "torch"
    assert engines.chosen("auto", CARD, torch.float32) == "torch"  # and does not try again


def test_auto_takes_torch_on_older_cards_and_without_triton(card: pytest.MonkeyPatch) -> None:
    card.setattr(engines, "find_spec", lambda name: None)
    assert engines.chosen("auto", CARD, torch.float32) == "torch"
    engines._triton_compiles_for.cache_clear()
    card.undo()
    card.setattr(torch.version, "cuda", "12.8")
    card.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert engines.chosen("auto", CARD, torch.float32) == "torch"


def test_without_the_package_triton_the_engine_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'leukonca\[gpu\]'"):
        run("triton", given())
