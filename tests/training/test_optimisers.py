"""Which optimiser moves which weights, and by how much."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from leukonca import NCAClassifier
from leukonca.errors import UsageError
from leukonca.models.building import build
from leukonca.models.presets import PRESETS, preset
from leukonca.training.optimisers import hidden_matrices, optimisers, set_rate
from leukonca.training.recipe import Recipe, recipe_for

MUON = Recipe(learning_rate=0.01, muon_rate=0.02)


@pytest.fixture
def model() -> NCAClassifier:
    return NCAClassifier(preset="tiny", channels=8, hidden=20)


def test_every_weight_is_moved_by_one_optimiser(model: NCAClassifier) -> None:
    for recipe in (MUON, Recipe()):
        moved = [
            id(value) for each in optimisers(model, recipe) for group in each.param_groups for value in group["params"]
        ]
        assert sorted(moved) == sorted(id(value) for value in model.parameters())
    assert [type(each).__name__ for each in optimisers(model, MUON)] == ["Adam", "Muon"]
    assert [type(each).__name__ for each in optimisers(model, Recipe())] == ["Adam"]


def test_muon_has_the_matrices_of_the_rule_and_of_the_hidden_layer(model: NCAClassifier) -> None:
    named = {id(value): name for name, value in model.named_parameters()}
    assert [named[id(value)] for value in hidden_matrices(model)] == ["hidden_weight", "update_weight", "head.0.weight"]


def test_a_step_of_muon_is_as_large_in_every_direction_and_that_of_adam_in_every_weight(model: NCAClassifier) -> None:
    adam, muon = optimisers(model, MUON)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    for value in model.parameters():
        value.grad = torch.randn(value.shape, generator=generator)
    adam.step()
    muon.step()
    for name, value in model.named_parameters():
        change = (value.detach() - before[name]).double().numpy()
        if name in ("hidden_weight", "update_weight", "head.0.weight"):
            # Five Newton-Schulz steps bring singular values near to 1, not to it; 0.2 sqrt(longer side) of the paper.
            singular = np.linalg.svd(change, compute_uv=False) / (0.02 * 0.2 * np.sqrt(max(change.shape)))
            assert 0.6 < singular.min() <= singular.max() < 1.3
        else:
            np.testing.assert_allclose(np.abs(change), 0.01, rtol=1e-3)


def test_rates_rise_and_fall_together(model: NCAClassifier) -> None:
    both = optimisers(model, MUON)
    for each in both:
        set_rate(each, 0.0025, MUON.learning_rate)
    assert [each.param_groups[0]["lr"] for each in both] == [0.0025, 0.005]


def test_kinds_say_whether_they_have_such_matrices() -> None:
    for name in PRESETS:
        architecture = preset(name)
        if name != "resnext":  # large, and of the same kind as the small one
            found = hidden_matrices(build(architecture, classes=("a", "b")))
            assert bool(found) == architecture.has_hidden_matrices, name
    with pytest.raises(UsageError, match=r"muon_rate is 0.02: a ResNeXt has no matrices for it"):
        replace(recipe_for("resnext-small"), muon_rate=0.02)
