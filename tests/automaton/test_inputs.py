"""What engines are given by users: strides, repeats, hardly any firing, cards that Triton cannot use."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from leukonca.automaton import engines
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
