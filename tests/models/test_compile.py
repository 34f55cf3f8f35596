"""`torch.compile` of the model: same logits, same gradients, whatever the engine, and no endless compiling."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

import leukonca

# Torch's tracer looks at the gradients of everything that it passes on.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


@pytest.fixture
def traced() -> Iterator[list[int]]:
    """Of each graph that was compiled, how many inputs it has."""
    torch.compiler.reset()
    yield []
    torch.compiler.reset()


def model_and_exact(engine: str) -> tuple[leukonca.NCAClassifier, leukonca.NCAClassifier]:
    torch.manual_seed(0)
    model = leukonca.NCAClassifier(preset="tiny", channels=5, hidden=6, steps=2, engine=engine)
    with torch.no_grad():
        for value in model.parameters():
            value.normal_(std=0.3)
    exact = leukonca.NCAClassifier(preset="tiny", channels=5, hidden=6, steps=2, engine="reference").double()
    exact.load_state_dict({name: value.double() for name, value in model.state_dict().items()})
    return model, exact


@pytest.mark.parametrize("engine", ["cpu", "reference", "torch"])
def test_a_compiled_model_equals_the_reference(engine: str, traced: list[int]) -> None:
    model, exact = model_and_exact(engine)

    def counting(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> object:
        traced.append(len(inputs))
        return graph.forward  # as the backend "eager" does

    compiled = torch.compile(model, backend=counting)
    images = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 3, 5, 4)).astype(np.float32))
    labels = torch.tensor([0, 3, 12])
    counts = []
    for seed in (1, 2, 3):
        model.zero_grad()
        exact.zero_grad()
        logits, expected = compiled(images, seed=seed), exact(images.double(), seed=seed)
        assert float((logits - expected).detach().abs().max()) < 1e-5 * float(expected.detach().abs().max())
        functional.cross_entropy(logits, labels).backward()
        functional.cross_entropy(expected, labels).backward()
        for (name, one), other in zip(model.named_parameters(), exact.parameters(), strict=True):
            assert one.grad is not None
            assert other.grad is not None
            scale = float(other.grad.abs().max())
            assert float((one.grad - other.grad).abs().max()) < 1e-4 * scale, name
        counts.append(len(traced))
    assert counts[0] > 0
    assert counts[2] == counts[1]  # a new seed is no reason to compile
