"""Recipes as TOML: there and back, a part over a preset, and what is refused by file, setting and remedy."""

import json
import tomllib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leukonca.data.augmentation import Augmentation
from leukonca.errors import UsageError
from leukonca.models import folder
from leukonca.models.presets import Architecture
from leukonca.training import recipe_files
from leukonca.training.other_recipes import read_beginning, read_teachers
from leukonca.training.recipe import RECIPES, Recipe, recipe_for, to_json
from leukonca.training.recipe_files import (
    Plan,
    from_json,
    from_toml,
    plan_of,
    read_plan,
    to_toml,
)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_comes_back_from_json_and_toml(name: str) -> None:
    recipe = recipe_for(name)
    assert from_json(json.loads(json.dumps(to_json(recipe)))) == recipe
    for plan in (Plan(recipe, seed=3, fold=1, folds=4), Plan(recipe, teachers=("large.toml", "a/b.toml"))):
        assert from_toml(to_toml(plan)) == plan


@given(
    st.builds(
        Recipe,
        architecture=st.builds(Architecture, fire_rate=st.floats(0.01, 1), grid=st.integers(32, 99)),
        augmentation=st.builds(Augmentation, rotation=st.booleans(), stain=st.floats(0, 1)),
        learning_rate=st.floats(1e-12, 1e3),
        clip=st.none() | st.floats(1e-300, 1e300),
        draws=st.none() | st.integers(1, 2**40),
        loss=st.sampled_from(["cross_entropy", "focal"]),
        balance=st.booleans(),
        small_grid=st.none() | st.integers(2, 32),
    )
)
def test_any_recipe_comes_back_bit_by_bit(recipe: Recipe) -> None:
    assert from_toml(to_toml(Plan(recipe))).recipe == recipe


def test_the_file_is_what_a_reader_of_toml_expects() -> None:
    facts = tomllib.loads(to_toml(Plan(recipe_for("compact"), seed=5, fold=2)))
    assert facts["run"] == {"seed": 5, "fold": 2, "folds": 5}
    assert facts["architecture"] == asdict(recipe_for("compact").architecture)
    assert facts["learning_rate"] == 2e-3
    assert facts["kind"] == "nca"
    assert "draws" not in facts


def test_a_part_stands_over_a_preset_or_over_the_paper() -> None:
    plan = from_toml('preset = "compact"\nepochs = 14\n[augmentation]\nstain = 0.25\n[run]\nfold = 3')
    compact = recipe_for("compact")
    assert from_toml('preset = "compact"\nmuon_rate = "none"').recipe == replace(compact, muon_rate=None)
    with pytest.raises(UsageError, match="epochs is 'none'"):
        from_toml('preset = "compact"\nepochs = "none"')
    expected = replace(compact, epochs=14, augmentation=replace(compact.augmentation, stain=0.25))
    assert (plan.recipe, plan.seed, plan.fold) == (expected, 0, 3)
    assert from_toml("epochs = 2").recipe == Recipe(epochs=2)
    assert from_toml('preset = "resnext-small"\n[architecture]\nblocks = [1, 1, 1, 1]').recipe.architecture == replace(
        recipe_for("resnext-small").architecture, blocks=(1, 1, 1, 1)
    )


def test_a_trained_config_tells_its_plan() -> None:
    recipe = {**json.loads(json.dumps(to_json(recipe_for("tiny")))), "seed": 7}
    assert plan_of(recipe, {"fold": 1, "folds": 3}) == Plan(recipe_for("tiny"), seed=7, fold=1, folds=3)
    assert plan_of(recipe, {"split": "official"}).fold == 0
    assert plan_of(recipe, {"teachers": [{"model": "large"}]}).teachers == ("large.toml",)
    assert plan_of(recipe, {"pretrained": [{"model": "coarse", "same_images": True}]}).pretrained == "coarse.toml"
    assert plan_of(recipe, {"pretrained": [{"model": "shipped"}]}).pretrained is None
    chain = [{"model": "shipped"}, {"model": "coarse", "same_images": True}]
    assert plan_of(recipe, {"pretrained": chain}).pretrained is None
    del recipe["kind"]  # as before there were several kinds
    assert plan_of(recipe, {}).recipe == recipe_for("tiny")
    with pytest.raises(UsageError, match="no settings of a training"):
        plan_of({}, {})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epocs = 3", "epocs: there is no such setting; did you mean epochs"),
        ("epochs = 0", "epochs is 0: must be a whole number"),
        ('epochs = "3"', "epochs is '3'"),
        ("batch_size = 2.5", "batch_size is 2.5"),
        ('loss = "hinge"', "loss is 'hinge': there are"),
        ("[augmentation]\nstian = 0.1", r"\[augmentation\] stian: .*did you mean stain"),
        ("[augmentation]\nstain = 7", r"\[augmentation\] stain 7"),
        ('[augmentation]\nstain = "much"', r"\[augmentation\] stain is 'much': must be a number"),
        ('[augmentation]\nrotation = "no"', r"\[augmentation\] rotation is 'no': must be true or false"),
        ("[augmentation]\nshift = true", r"\[augmentation\] shift is True: must be a number"),
        ("[architecture]\nblocks = [1]", r"\[architecture\] blocks: there is no such setting; there are channels"),
        ("[architecture]\nchannels = 1", r"\[architecture\] channels is 1"),
        ("architecture = 3", r"architecture is no table; write \[architecture\]"),
        ("[model]\nchannels = 8", "model: there is no such table"),
        ("[run]\nfold = 5", r"\[run\] fold is 5: must be below 5"),
        ("[run]\nseed = -1", r"\[run\] seed is -1"),
        ('[run]\nteachers = "large.toml"', r"\[run\] teachers is 'large.toml': must be a list of TOML files"),
        ("[run]\npretrained = 3", r"\[run\] pretrained is 3: must be the name of a TOML file"),
        ('[run]\npretrained = ""', "must be the name of a TOML file"),
        ("[run]\nteachers = [3]", r"\[run\] teachers is \(3,\): must be a list of TOML files"),
        ('[run]\nteachers = ["a/l.toml", "b/l.toml"]', "must be a list of TOML files, each of another name"),
        ("[run]\nseeds = 1", r"\[run\] seeds: there is no such setting; did you mean seed\?"),
        ('preset = "huge"', "preset 'huge': there are"),
        ("preset = 3", "preset '3': there are"),
        ('kind = "cnn"', "kind is 'cnn': there are"),
        ('kind = ["nca"]', r"kind is \['nca'\]: there are"),
        ("[run]\nteachers = 5", r"\[run\] teachers is 5: must be a list of TOML files"),
        ("[run]\nseed = 4294967296", r"\[run\] seed is 4294967296: must be below 2\^32"),
        ('stain_normalisation = "Lightness"', "stain_normalisation is 'Lightness': there are plain"),
        ("beyond = 3", "beyond is 3: there are reflection"),
        ('preset = "tiny"\nkind = "resnext"', "keep one"),
        ("epochs = ", "no valid TOML"),
    ],
)
def test_what_is_refused_is_named_with_its_file(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=words) as caught:
        read_plan(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_plan(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="cannot be read"):
        read_plan(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'loss = "\xe4"')
    with pytest.raises(UsageError, match="no text in UTF-8"):
        read_plan(tmp_path / "latin.toml")


@pytest.mark.parametrize("values", [{"seed": True}, {"fold": 1.0}, {"folds": 1}])
def test_plans_that_cannot_be_meant(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="must be a whole number"):
        Plan(Recipe(), **values)


def test_a_shipped_models_name_is_its_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cells").mkdir()
    for module in (folder, recipe_files):
        monkeypatch.setattr(module, "SHIPPED", tmp_path)
    assert recipe_files.find_recipe("cells") == tmp_path / "cells" / "recipe.toml"
    assert recipe_files.find_recipe("no-cells") == Path("no-cells")
    with pytest.raises(UsageError, match=r"no-cells: no such file; .* name of a shipped model \(cells\)"):
        read_plan(Path("no-cells"))


RECIPES_OF_DOCS = sorted((Path(__file__).parents[2] / "docs" / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES_OF_DOCS, ids=lambda path: path.stem)
def test_the_other_models_of_a_recipe_of_the_documents_are_there_and_fit(path: Path) -> None:
    plan = read_plan(path)
    beginning = read_beginning(path, plan)
    assert (beginning is None) == (plan.pretrained is None)
    assert len(read_teachers(path, plan)) + plan.teaches_itself == len(plan.teachers)
    if beginning is not None:
        assert set(beginning.teachers) == {
            Path(name).stem for name in read_plan(path.parent / plan.pretrained).teachers
        }


@pytest.mark.parametrize("path", RECIPES_OF_DOCS, ids=lambda path: path.stem)
def test_a_recipe_of_the_documents_does_not_change_with_the_presets(path: Path) -> None:
    given, full = tomllib.loads(path.read_text(encoding="utf-8")), tomllib.loads(to_toml(read_plan(path)))
    full.pop("run")
    given.pop("run", None)
    assert given.keys() == full.keys()
    for table in ("architecture", "augmentation"):
        assert given[table].keys() == full[table].keys()
