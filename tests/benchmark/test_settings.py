"""Settings as they are typed, and the variants of an ablation."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leukonca.benchmark.ablation import AXES, ablation
from leukonca.benchmark.models import SIZES, find_runner
from leukonca.benchmark.settings import changed, read_changes
from leukonca.errors import UsageError
from leukonca.training.recipe_files import from_json

SETTINGS: dict[str, Any] = {"a": {"x": 1, "y": [1, 2]}, "b": {"x": 2, "z": None}, "w": "word"}


def test_values_are_read_as_json_and_else_as_words() -> None:
    words = ["nca.epochs=3", "nca.field_um=none", "nca.balance=false", "resnext.blocks=[1,2]", "nca.loss=cross_entropy"]
    assert read_changes(words, ["nca", "resnext"]) == {
        "nca": {"epochs": 3, "field_um": None, "balance": False, "loss": "cross_entropy"},
        "resnext": {"blocks": [1, 2]},
    }


@pytest.mark.parametrize("word", ["", "=", "nca", "nca=3", ".x=3", "nca.=3", "nca.x=", "vgg.x=1", "nca x"])
def test_other_words_are_refused(word: str) -> None:
    with pytest.raises(UsageError, match="--set"):
        read_changes([word], ["nca"])


def test_the_last_part_of_a_name_is_enough_where_it_is_alone() -> None:
    assert changed(SETTINGS, {"y": [3], "a.x": 5, "w": 1}) == {
        "a": {"x": 5, "y": [3]},
        "b": {"x": 2, "z": None},
        "w": 1,
    }
    assert SETTINGS["a"]["x"] == 1
    with pytest.raises(UsageError, match=r"there are a\.x, b\.x"):
        changed(SETTINGS, {"x": 1})
    with pytest.raises(UsageError, match="no such setting; there are w, x, x, y, z"):
        changed(SETTINGS, {"v": 1})
    with pytest.raises(UsageError, match="no such setting"):
        changed(SETTINGS, {"a": 1})


@given(st.dictionaries(st.sampled_from(["a.x", "b.x", "y", "z", "w"]), st.integers() | st.booleans() | st.none()))
def test_only_what_is_named_changes(changes: dict[str, Any]) -> None:
    now = changed(SETTINGS, changes)
    paths = {"a.x": ("a", "x"), "b.x": ("b", "x"), "y": ("a", "y"), "z": ("b", "z"), "w": ("w",)}
    for name, path in paths.items():
        old: Any = SETTINGS
        new: Any = now
        for part in path:
            old, new = old[part], new[part]
        assert new == changes.get(name, old)


def test_the_channels_are_the_papers() -> None:
    variants = ablation("channels", find_runner("nca").settings("paper"))
    assert [variant.value for variant in variants] == [16, 32, 64, 128]
    assert [from_json(each.settings).architecture.channels for each in variants] == [16, 32, 64, 128]  # type: ignore[attr-defined]
    assert from_json(variants[-1].settings) == from_json(find_runner("nca").settings("paper"))


@pytest.mark.parametrize("name", AXES)
def test_variants_differ_in_the_setting_and_what_follows_it(name: str) -> None:
    settings = changed(find_runner("nca").settings("compact"), {"small_grid": 32})
    axis, own = AXES[name], settings["architecture"][AXES[name].setting]
    variants = ablation(name, settings)
    assert len({variant.name for variant in variants}) == len(variants)
    assert own in [variant.value for variant in variants]
    # Cells of 4 x 4 pixels leave no room for the paper's 16 and 32 channels: 48 hold the image.
    left_out = {16, 32} if name == "channels" else set()
    assert {variant.value for variant in variants} == {*axis.values, own} - left_out
    for variant in variants:
        there = json.loads(json.dumps(variant.settings))
        assert there["architecture"].pop(axis.setting) == variant.value
        expected = json.loads(json.dumps(settings))
        del expected["architecture"][axis.setting]
        if name == "grid":
            assert there.pop("margin") / variant.value == pytest.approx(expected.pop("margin") / 64, abs=0.03)
            assert there.pop("small_grid") / variant.value == pytest.approx(expected.pop("small_grid") / 64, abs=0.03)
        assert there == expected


def test_values_of_ones_own_in_order_and_values_that_cannot_be() -> None:
    settings = find_runner("nca").settings("tiny")
    assert [each.value for each in ablation("fire-rate", settings, (1.0, 0.3, 1.0))] == [0.3, 1.0]
    for name, value in (("channels", 2), ("channels", 16.5), ("fire-rate", 0.0), ("grid", 1), ("steps", -1)):
        with pytest.raises(UsageError):
            ablation(name, settings, (value,))
    with pytest.raises(UsageError, match="there are channels, steps, fire-rate, grid"):
        ablation("depth", settings)


@pytest.mark.parametrize("axis", ["channels", "steps", "fire-rate"])
def test_an_axis_of_the_automaton_is_none_of_a_resnext(axis: str) -> None:
    with pytest.raises(UsageError, match="no such setting"):
        ablation(axis, find_runner("resnext").settings("compact"), model="resnext")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("model", ["nca", "resnext", "aecfe"])
@pytest.mark.parametrize("scale_known", [False, True])
def test_every_model_of_every_size_can_see_images(model: str, size: str, scale_known: bool) -> None:
    runner = find_runner(model)
    preprocessing = runner.preprocessing(runner.checked(runner.settings(size), scale_known=scale_known))
    assert scale_known or preprocessing.field_um is None
