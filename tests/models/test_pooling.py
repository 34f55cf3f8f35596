"""Poolings in torch and in numpy against the same formula in double precision, by sorting."""

import math
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

import leukonca
from leukonca.models.pooling import POOLINGS, bilinear, top_count
from leukonca.models.presets import PoolingName

NAMES = get_args(PoolingName)


def by_formula(name: str, states: np.ndarray, attention: np.ndarray | None) -> np.ndarray:
    """Float64 [B, C, H, W] -> [B, C]."""
    if attention is not None:
        resized = functional.interpolate(torch.from_numpy(attention)[None, None], states.shape[2:], mode="bilinear")
        states = states / (1 + np.exp(-resized[0, 0].numpy()))
    cells = np.sort(states.reshape(*states.shape[:2], -1), axis=2)[:, :, ::-1]
    count = {"max": 1, "mean": cells.shape[2]}.get(name, math.ceil(cells.shape[2] / 10))
    return cells[:, :, :count].mean(axis=2)


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    height=st.integers(2, 20),
    width=st.integers(2, 20),
    own=st.integers(2, 15),
    batch=st.integers(1, 3),
    seed=st.integers(0, 10**6),
)
def test_both_forms_follow_the_formula(name: str, height: int, width: int, own: int, batch: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    states = draw.normal(size=(batch, 5, height, width)).astype(np.float32)
    attention = draw.normal(size=(own, own), scale=3).astype(np.float32) if POOLINGS[name].attends else None
    expected = by_formula(name, states.astype(np.float64), None if attention is None else attention.astype(np.float64))
    as_tensor = None if attention is None else torch.from_numpy(attention)
    tensor = POOLINGS[name].of_tensor(torch.from_numpy(states), as_tensor)
    np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-5, atol=1e-6)
    one_by_one = [POOLINGS[name].of_array(state.transpose(1, 2, 0), attention) for state in states]
    assert all(features.dtype == np.float32 for features in one_by_one)
    np.testing.assert_allclose(np.stack(one_by_one), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    draw = torch.Generator().manual_seed(3)
    state = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=draw, requires_grad=True)
    attention = torch.randn(3, 3, dtype=torch.float64, generator=draw, requires_grad=True)
    inputs = (state, attention) if POOLINGS[name].attends else (state, None)
    assert torch.autograd.gradcheck(POOLINGS[name].of_tensor, inputs)


def test_a_value_that_is_not_finite_is_not_pooled_away() -> None:
    state = np.zeros((4, 4, 2), np.float32)
    state[1, 2, 0] = np.nan
    for pooling in POOLINGS.values():
        features = pooling.of_array(state, np.zeros((4, 4), np.float32) if pooling.attends else None)
        assert np.isnan(features[0])
        assert features[1] == 0


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 70), own=st.integers(1, 70))
def test_maps_are_stretched_as_torch_stretches_images(size: int, own: int) -> None:
    values = np.random.default_rng(size * own).normal(size=own)
    wanted = functional.interpolate(torch.from_numpy(values)[None, None, None], (1, size), mode="bilinear")
    np.testing.assert_allclose(bilinear(size, own) @ values, wanted[0, 0, 0].numpy(), atol=1e-12)


def test_every_name_is_listed() -> None:
    assert set(POOLINGS) == set(NAMES)


def test_a_tenth_of_the_cells_rounded_up() -> None:
    assert [top_count(cells) for cells in (1, 4, 10, 11, 100, 4096)] == [1, 1, 1, 2, 10, 410]


@pytest.mark.parametrize("name", NAMES)
def test_the_classifier_pools_as_it_says(name: PoolingName) -> None:
    torch.manual_seed(1)
    model = leukonca.NCAClassifier("tiny", grid=9, pooling=name)
    plain = leukonca.NCAClassifier("tiny", grid=9)
    added = sum(value.numel() for value in model.parameters()) - sum(value.numel() for value in plain.parameters())
    assert added == (81 if name == "attention" else 0)
    torch.nn.init.normal_(model.update_weight, std=0.15)
    attention = None
    if POOLINGS[name].attends:
        torch.nn.init.normal_(model.attention)
        attention = model.attention.detach().double().numpy()
    for height, width in ((9, 9), (6, 12)):
        x = torch.randn(2, 3, height, width)
        with torch.no_grad():
            state, features = model.rollout(x, seed=4), model.features(x, seed=4)
        np.testing.assert_allclose(features.numpy(), by_formula(name, state.double().numpy(), attention), rtol=1e-5)
    model(x, seed=1).square().sum().backward()
    for part, value in model.named_parameters():
        assert value.grad is not None, part
        assert float(value.grad.abs().max()) > 0, part
