"""A run without chance against the equations with the mean update written out, and against the mean of random runs."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from leukonca import NCAClassifier
from leukonca.automaton.reference import first_state, perceive, update
from leukonca.errors import ModelError
from leukonca.models.config import ModelConfig
from leukonca.models.deterministic import as_deterministic
from leukonca.models.presets import ResNeXtArchitecture


@pytest.fixture(scope="module")
def model() -> NCAClassifier:
    torch.manual_seed(1)
    model = NCAClassifier("tiny", channels=6, hidden=8, steps=4, grid=10, fire_rate=0.3)
    torch.nn.init.normal_(model.update_weight, std=0.2)
    model.config = replace(model.config, mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0), temperature=2.0)
    return model.eval()


@torch.no_grad()
def test_every_step_adds_the_fire_rate_times_the_update(model: NCAClassifier) -> None:
    images = torch.randn(2, 3, 9, 10, generator=torch.Generator().manual_seed(2))
    kernels, bias, w0, b0, w1 = (value.detach() for value in model.rule)
    state = first_state(images, 6)
    for _ in range(4):
        state = state + 0.3 * update(perceive(state, kernels, bias), w0, b0, w1)
        state = torch.cat([images, state[:, 3:]], dim=1)
    found = model.deterministic()
    for seed in (0, 5):
        np.testing.assert_allclose(found.rollout(images, seed=seed), state, rtol=1e-4, atol=1e-5)
    assert float((model.rollout(images, seed=0) - state).abs().max()) > 0.01
    assert found.config == replace(model.config, architecture=replace(model.architecture, fire_rate=1.0))
    assert float((found.update_weight - model.update_weight).abs().max()) > 0.1  # the model itself is as it was


@torch.no_grad()
def test_one_step_is_the_mean_of_random_ones(model: NCAClassifier) -> None:
    images = torch.randn(1, 3, 10, 10, generator=torch.Generator().manual_seed(3))
    runs = model.rollout(images.expand(4000, -1, -1, -1), steps=1, seed=torch.arange(4000))
    expected = model.deterministic().rollout(images, steps=1)[0]
    spread = runs.std(dim=0) / 4000**0.5
    assert float(((runs.mean(dim=0) - expected).abs() - 5 * spread).max()) < 1e-5


def test_only_an_automaton_fires() -> None:
    config = ModelConfig(ResNeXtArchitecture())
    with pytest.raises(ModelError, match="nothing in it fires at random"):
        as_deterministic(config, {})
