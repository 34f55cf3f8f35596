"""Fine-tuning: a training begins as a trained model, keeps its colors, and what that had seen stays out of tests."""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import leukonca
from leukonca.data.cells import Cells
from leukonca.data.splits import Split, split_cells
from leukonca.errors import ModelError, UsageError
from leukonca.evaluation.run import evaluate_cells
from leukonca.models.building import build
from leukonca.models.folder import weights_digest
from leukonca.models.presets import Architecture, ResNeXtArchitecture
from leukonca.models.unusual import UnusualScore
from leukonca.report.training import as_it_began
from leukonca.taxonomy import CLASSES, EACH_ITSELF
from leukonca.training import loop
from leukonca.training.loop import train
from leukonca.training.pretrained import Pretrained, begin_as, check_fits, read_pretrained
from leukonca.training.recipe import Recipe, recipe_for

from .conftest import SEEN


def nothing_learned(recipe: Recipe) -> Recipe:
    """One epoch at a rate that moves no weight by more than a rounding."""
    return replace(recipe, epochs=1, learning_rate=1e-12, muon_rate=None, average=0.0, warmup=0)


def test_what_the_model_says_of_the_test_before_is_told_where_it_can(others: Cells, parent: Path) -> None:
    split, pretrained = split_cells(others, fold=1, folds=4), read_pretrained(parent)
    before = as_it_began(pretrained, others, split, seed=3, quiet=True)
    expected = evaluate_cells(leukonca.load(parent), others, split.test, seed=3, quiet=True).metrics
    assert before is not None
    assert before["model"] == "first"
    assert before["accuracy"] == expected["accuracy"]
    cut_otherwise = replace(others, preprocessing=replace(others.preprocessing, margin=0))
    assert as_it_began(pretrained, cut_otherwise, split, quiet=True) is None


def test_it_begins_with_the_weights_and_the_colors(others: Cells, recipe: Recipe, parent: Path, tmp_path: Path) -> None:
    split = split_cells(others, fold=1, folds=4)
    first = leukonca.load(parent)
    model = train(
        others, split, nothing_learned(recipe), tmp_path, seed=3, pretrained=read_pretrained(parent), quiet=True
    )
    for name, value in first.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=0, atol=1e-6)
    assert model.config.normalisation() == first.config.normalisation()
    fresh = train(others, split, nothing_learned(recipe), tmp_path / "fresh", seed=3, quiet=True)
    assert fresh.config.normalisation() != first.config.normalisation()
    assert model.config.data["fingerprint"] == others.fingerprint
    card = (tmp_path / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"- Began as: first, trained on center {first.config.data['center']}, fingerprint" in card
    assert "Not seen in its last training, so never to be trusted: basophil" in card


def test_what_tells_unusual_cells_apart_is_of_no_account(parent: Path, tmp_path: Path) -> None:
    """It is fitted anew, so that an old one must not keep anybody from beginning as the model."""
    old = tmp_path / "first"
    shutil.copytree(parent, old)
    model = leukonca.load(old)
    cells = np.ones((5, model.architecture.channels), np.int8)
    model.unusual = UnusualScore(cells, np.ones(cells.shape[1], np.float32), np.empty(0, np.float32))
    model.save(old)
    (old / "unusual.safetensors").write_bytes(b"of an earlier version")
    with pytest.raises(ModelError):
        leukonca.load(old)
    assert read_pretrained(old).fingerprint == read_pretrained(parent).fingerprint


def test_its_recipe_is_the_models_with_fewer_and_smaller_steps(recipe: Recipe, parent: Path) -> None:
    gentle = read_pretrained(parent).recipe
    assert gentle.architecture == recipe.architecture
    assert gentle.augmentation == recipe.augmentation
    assert gentle.preprocessing == recipe.preprocessing
    assert gentle.learning_rate < recipe.learning_rate
    assert gentle.muon_rate is not None
    assert recipe.muon_rate is not None
    assert gentle.muon_rate / recipe.muon_rate == pytest.approx(gentle.learning_rate / recipe.learning_rate)
    assert gentle.grid_of(0) == recipe.architecture.grid
    imported = leukonca.load(parent)
    imported.config = replace(imported.config, recipe={})
    with pytest.raises(UsageError, match="begin with a model of `leukonca train`"):
        _ = Pretrained("imported", imported, ()).recipe


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"channels": 12}, "channels 8 (and not 12)"),
        ({"hidden": 8}, "hidden 16 (and not 8)"),
        ({"steps": 5, "fire_rate": 1.0}, "steps 4 (and not 5), fire_rate 0.5 (and not 1.0)"),
        ({"pooling": "mean"}, "pooling max (and not mean)"),
    ],
)
def test_another_architecture_is_refused(
    others: Cells, recipe: Recipe, parent: Path, tmp_path: Path, changes: Mapping[str, Any], told: str
) -> None:
    other = replace(recipe, architecture=replace(recipe.architecture, **changes))
    with pytest.raises(UsageError, match=re.escape(f"its weights were trained with {told}")):
        train(others, split_cells(others, fold=1, folds=4), other, tmp_path, pretrained=read_pretrained(parent))
    assert not list(tmp_path.iterdir())


def test_another_grid_begins_with_the_same_weights(recipe: Recipe, parent: Path) -> None:
    """No weight depends on it, but those of an attention map: one value a cell."""
    architecture = recipe.architecture
    assert isinstance(architecture, Architecture)
    finer = replace(architecture, grid=2 * architecture.grid)
    check_fits(replace(recipe, architecture=finer), read_pretrained(parent))
    attends = replace(architecture, pooling="attention")
    assert attends.unlike(replace(finer, pooling="attention")) == [f"grid {architecture.grid} (and not {finer.grid})"]


def test_a_resnext_has_the_same_weights_at_another_grid() -> None:
    small = ResNeXtArchitecture(blocks=(1, 1, 1, 1), width=16, groups=2, grid=32)
    larger = replace(small, grid=48)
    assert small.unlike(larger) == []
    build(larger).load_state_dict(build(small).state_dict())
    assert small.unlike(replace(small, width=32)) == ["width 16 (and not 32)"]


def test_other_colors_and_another_kind_are_refused(recipe: Recipe, parent: Path) -> None:
    pretrained = read_pretrained(parent)
    check_fits(recipe, pretrained)
    with pytest.raises(UsageError, match=r"stain_normalisation plain \(and not lightness\)"):
        check_fits(replace(recipe, stain_normalisation="lightness"), pretrained)
    with pytest.raises(UsageError, match="of kind nca, and the recipe is of kind resnext"):
        check_fits(recipe_for("resnext-small"), pretrained)


def test_other_classes_begin_as_what_they_comprise(parent: Path) -> None:
    pretrained = read_pretrained(parent)
    assert set(pretrained.model.config.trained_classes) == set(SEEN)
    old = pretrained.model.state_dict()
    names = list(pretrained.model.config.classes)
    comprises = {
        "round": ("lymphocyte_typical", "lymphocyte_atypical", "monocyte"),  # one of them was trained on
        "other": ("eosinophil", "smudge_cell"),
        "basophil": ("basophil",),
    }
    new = leukonca.NCAClassifier(classes=tuple(comprises), **_shape(pretrained))
    drawn = {name: value.clone() for name, value in new.state_dict().items()}
    begin_as(new, pretrained, comprises, present=comprises)
    weights = new.state_dict()
    for part in ("head.2.weight", "head.2.bias"):
        rows = {name: old[part][names.index(name)] for name in SEEN}
        torch.testing.assert_close(weights[part][0], rows["lymphocyte_typical"])
        torch.testing.assert_close(weights[part][1], (rows["eosinophil"] + rows["smudge_cell"]) / 2)
        torch.testing.assert_close(weights[part][2], drawn[part][2])
    for name in weights.keys() - {"head.2.weight", "head.2.bias"}:
        torch.testing.assert_close(weights[name], old[name])


def test_finer_classes_begin_as_the_coarser_one(parent: Path) -> None:
    coarse = read_pretrained(parent)
    named = {"neutrophil": ("neutrophil_banded", "neutrophil_segmented"), "monocyte": ("monocyte",)}
    model = leukonca.NCAClassifier(classes=tuple(named), **_shape(coarse))
    model.config = replace(model.config, trained_classes=tuple(named), data={"comprises": named})
    fine = leukonca.NCAClassifier(**_shape(coarse))
    begin_as(fine, Pretrained("coarse", model, ()), EACH_ITSELF, present=EACH_ITSELF)
    rows, old = fine.head[-1].weight, model.head[-1].weight
    torch.testing.assert_close(rows[7], old[0])
    torch.testing.assert_close(rows[8], old[0])
    torch.testing.assert_close(rows[9], old[1])


def test_a_class_that_is_new_to_the_weights_begins_anew_only_if_there_are_images_of_it(parent: Path) -> None:
    """Rows that training has only pushed down would hold a new class back; without images nothing else would."""
    pretrained = read_pretrained(parent)
    new = leukonca.NCAClassifier(**_shape(pretrained))
    drawn, old = new.head[-1].bias.detach().clone(), pretrained.model.head[-1].bias
    begin_as(new, pretrained, EACH_ITSELF, present={"basophil", "smudge_cell"})
    basophil, monocyte, smudge = (CLASSES.index(name) for name in ("basophil", "monocyte", "smudge_cell"))
    assert new.head[-1].bias[basophil] == drawn[basophil]
    assert new.head[-1].bias[monocyte] == old[monocyte]
    assert new.head[-1].bias[smudge] == old[smudge]


def _shape(pretrained: Pretrained) -> dict[str, int]:
    architecture = pretrained.model.config.architecture
    return {name: getattr(architecture, name) for name in ("channels", "hidden", "steps", "grid")}


def test_a_resumed_run_needs_the_same_beginning_and_ends_alike(
    others: Cells, recipe: Recipe, parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = split_cells(others, fold=1, folds=4)
    short = replace(recipe, epochs=2, draws=4, small_grid_epochs=0)
    whole = train(others, split, short, tmp_path / "whole", pretrained=read_pretrained(parent), quiet=True)
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(loop, "write_log", stopped_after(1, loop.write_log))
        with pytest.raises(KeyboardInterrupt):
            train(others, split, short, run, pretrained=read_pretrained(parent), quiet=True)
    with pytest.raises(UsageError, match="other settings"):
        train(others, split, short, run, resume=True, quiet=True)
    stranger = tmp_path / "copy"
    leukonca.load(parent).save(stranger)  # the same weights, but nobody knows what they have seen
    with pytest.raises(UsageError, match="other settings"):
        train(others, split, short, run, pretrained=read_pretrained(stranger), resume=True, quiet=True)
    resumed = train(others, split, short, run, pretrained=read_pretrained(parent), resume=True, quiet=True)
    for name, array in whole.weights().items():
        assert resumed.weights()[name].tobytes() == array.tobytes()
    facts = json.loads((run / "recipe.json").read_text())["pretrained"]
    assert facts == [{"model": "first", "weights_sha256": weights_digest(leukonca.load(parent).weights())}]


def stopped_after(calls: int, original: Callable[..., None]) -> Callable[..., None]:
    count = 0

    def stopped(*arguments: Any) -> None:
        nonlocal count
        original(*arguments)
        count += 1
        if count == calls:
            raise KeyboardInterrupt

    return stopped


def test_synthetic_stays_synthetic(cells: Cells, split: Split, others: Cells, recipe: Recipe, tmp_path: Path) -> None:
    short = replace(recipe, epochs=1, draws=4, small_grid_epochs=0)
    train(cells, split, short, tmp_path / "made", synthetic=True, quiet=True)
    began = read_pretrained(tmp_path / "made")
    train(others, split_cells(others, fold=1, folds=4), short, tmp_path / "real", pretrained=began, quiet=True)
    config = json.loads((tmp_path / "real" / "config.json").read_text())
    assert config["data"]["synthetic"] is True


def test_a_resnext_begins_as_one() -> None:
    torch.manual_seed(1)
    first = build(recipe_for("resnext-small").architecture)
    small = build(recipe_for("resnext-small").architecture)
    begin_as(small, Pretrained("first", first, ()), EACH_ITSELF, present=EACH_ITSELF)
    for name, value in first.state_dict().items():
        torch.testing.assert_close(small.state_dict()[name], value)
