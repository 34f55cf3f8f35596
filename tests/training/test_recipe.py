"""Recipes: the paper's numbers, JSON there and back, settings that cannot be meant, learning rates by formula."""

import json
import math
from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np
import pytest
import torch

from leukonca.data.augmentation import Augmentation
from leukonca.data.preprocessing import Preprocessing
from leukonca.errors import UsageError
from leukonca.models.presets import PRESETS, preset
from leukonca.models.registry import architecture_from_json
from leukonca.training.objective import learning_rate
from leukonca.training.recipe import RECIPES, Recipe, recipe_for, to_json


def test_the_default_is_the_papers_recipe() -> None:
    paper = recipe_for("paper")
    assert paper == Recipe()
    assert paper.architecture == preset("paper")
    assert (paper.epochs, paper.batch_size, paper.learning_rate, paper.decay) == (32, 16, 4e-4, 0.9999)
    assert (paper.schedule, paper.loss, paper.balance, paper.draws) == ("exponential", "cross_entropy", True, None)
    assert (paper.clip, paper.warmup, paper.average, paper.label_smoothing) == (None, 0, 0.0, 0.0)
    assert paper.augmentation.rotation
    assert paper.augmentation.flips
    assert (paper.preprocessing.grid, paper.preprocessing.margin, paper.preprocessing.field_um) == (64, 0, None)


@pytest.mark.parametrize("name", RECIPES)
def test_every_preset_has_a_recipe_of_its_architecture_that_json_can_hold(name: str) -> None:
    assert set(RECIPES) == set(PRESETS)
    recipe = recipe_for(name)
    assert recipe.architecture == preset(name)
    written = json.loads(json.dumps(to_json(recipe), allow_nan=False))
    assert architecture_from_json(written.pop("kind"), written["architecture"]) == recipe.architecture
    assert written.keys() == {item.name for item in fields(Recipe)} - {"teacher_share"}  # there is no teacher
    assert written["augmentation"] == asdict(recipe.augmentation)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("epochs", 0),
        ("epochs", 2.5),
        ("epochs", True),
        ("epochs", None),
        ("batch_size", -1),
        ("batch_size", "16"),
        ("draws", 0),
        ("validation_images", 0),
        ("margin", -1),
        ("margin", 1.5),
        ("warmup", -1),
        ("small_grid_epochs", -1),
        ("small_grid", 1),
        ("small_grid", 65),
        ("learning_rate", 0.0),
        ("learning_rate", -1e-3),
        ("learning_rate", math.inf),
        ("learning_rate", math.nan),
        ("decay", 0),
        ("clip", 0.0),
        ("clip", math.nan),
        ("field_um", -27.0),
        ("label_smoothing", 1.0),
        ("average", 1.0),
        ("average", -0.1),
        ("average", math.nan),
        ("schedule", "linear"),
        ("loss", "hinge"),
        ("balance", 1),
    ],
)
def test_settings_that_cannot_be_meant_are_named(setting: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"{setting} is {value!r}"):
        replace(Recipe(), **{setting: value})


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "focal"])
def test_smoothing_is_of_the_cross_entropy(loss: Any) -> None:
    with pytest.raises(UsageError, match=f"loss {loss} has none"):
        Recipe(loss=loss, label_smoothing=0.1)


def test_plain_colors_have_no_levels() -> None:
    with pytest.raises(UsageError, match=r"levels is 0\.2: plain colors have no levels; set it to 0"):
        Recipe(augmentation=Augmentation(levels=0.2))
    assert Recipe(augmentation=Augmentation(levels=0.2), stain_normalisation="lightness").augmentation.levels == 0.2


def test_small_epochs_need_a_small_grid() -> None:
    with pytest.raises(UsageError, match="small_grid_epochs needs small_grid"):
        Recipe(small_grid_epochs=2)


def test_unknown_names_are_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="'huge': there are paper, compact, tiny, resnext"):
        recipe_for("huge")


def test_exponential_rate_is_torchs_own() -> None:
    recipe = Recipe(learning_rate=0.3, decay=0.97)
    optimiser = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.3)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, gamma=0.97)
    for step in range(50):
        assert learning_rate(recipe, step, 50) == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-9)
        optimiser.step()
        schedule.step()


def test_cosine_rate_rises_over_the_warmup_and_falls_to_zero() -> None:
    recipe = Recipe(learning_rate=2.0, schedule="cosine", warmup=10)
    rates = [learning_rate(recipe, step, 110) for step in range(111)]
    np.testing.assert_allclose(rates[:10], 2.0 * np.arange(1, 11) / 10)
    np.testing.assert_allclose(rates[10:], 1 + np.cos(np.pi * np.arange(101) / 100), atol=1e-12)
    assert rates[110] == 0
    assert all(0 < rate <= 2 for rate in rates[:110])
    plain = replace(recipe, warmup=0)
    assert [learning_rate(plain, step, 4) for step in (0, 2, 4)] == [2.0, pytest.approx(1.0), pytest.approx(0.0)]


@pytest.mark.parametrize("in_all", [1, 3, 5])
def test_a_run_shorter_than_its_warmup_has_a_rate_all_the_same(in_all: int) -> None:
    recipe = Recipe(learning_rate=1.0, schedule="cosine", warmup=5)
    assert [learning_rate(recipe, step, in_all) for step in range(in_all)] == [(i + 1) / 5 for i in range(in_all)]


def test_the_grid_grows_after_the_first_epochs() -> None:
    recipe = Recipe(small_grid=32, small_grid_epochs=2)
    assert [recipe.grid_of(epoch) for epoch in range(4)] == [32, 32, 64, 64]
    assert replace(recipe, small_grid_epochs=0).grid_of(0) == 64
    assert asdict(recipe)["small_grid"] == 32


def test_without_a_scale_neither_a_field_nor_a_nucleus_is_known() -> None:
    recipe = recipe_for("compact")
    assert recipe.preprocessing == Preprocessing(64, 20, 22.0, "lightness", 9.9, "background")
    assert replace(recipe, field_um=None).preprocessing == recipe.on_whole_images().preprocessing
    assert recipe.on_whole_images().preprocessing == Preprocessing(64, 20, None, "lightness", None, "background")
