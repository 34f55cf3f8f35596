"""Shares against autograd through the models' own pooling, and against the features."""

import numpy as np
import pytest
import torch

from leukonca.errors import ModelError
from leukonca.explain.pooling import shares, winners
from leukonca.models.pooling import POOLINGS


@pytest.mark.parametrize("name", POOLINGS)
@pytest.mark.parametrize(("height", "width"), [(6, 6), (5, 9)])
def test_shares_are_the_gradient_of_every_pooling_there_is(name: str, height: int, width: int) -> None:
    rng = np.random.default_rng(3)
    state = rng.normal(size=(height, width, 4))
    attention = rng.normal(size=(6, 6)) if POOLINGS[name].attends else None
    tensor = torch.from_numpy(state).permute(2, 0, 1)[None].requires_grad_()
    features = POOLINGS[name].of_tensor(tensor, None if attention is None else torch.from_numpy(attention))
    features.sum().backward()
    found = shares(name, state, attention)
    np.testing.assert_allclose(found, tensor.grad[0].permute(1, 2, 0).numpy(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose((found * state).sum(axis=(0, 1)), features[0].detach().numpy(), rtol=1e-9)


def test_equal_winners_share_and_the_first_is_named() -> None:
    state = np.zeros((3, 4, 2))
    state[1, 2, 0] = state[2, 3, 0] = 5
    state[0, 0, 1] = -1
    found = shares("max", state)
    assert found[1, 2, 0] == found[2, 3, 0] == 0.5
    assert found[..., 1].sum() == pytest.approx(1)
    assert found[0, 0, 1] == 0
    assert winners(state).tolist() == [[1, 2], [0, 1]]


def test_equal_cells_share_the_last_places_of_the_top_tenth() -> None:
    state = np.zeros((5, 6, 1))  # 30 cells, 3 places
    state[0, 0] = 9
    state[1, :4] = 4
    found = shares("topk", state)[..., 0]
    assert found[0, 0] == pytest.approx(1 / 3)
    assert found[1, :4] == pytest.approx(2 / 3 / 4)
    assert found.sum() == pytest.approx(1)


def test_an_unknown_pooling_is_refused() -> None:
    with pytest.raises(ModelError, match="carried back through max, mean, topk, attention only"):
        shares("median", np.zeros((2, 2, 1)))
