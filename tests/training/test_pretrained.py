"""Fine-tuning: a training begins as a trained model, keeps its colors, and what that had seen stays out of tests."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import leukonca
from leukonca.data.cells import Cells
from leukonca.data.splits import Split, split_cells
from leukonca.errors import DataError, UsageError
from leukonca.evaluation.holdout import held_out
from leukonca.report.training import check_unseen
from leukonca.taxonomy import EACH_ITSELF
from leukonca.training.loop import train
from leukonca.training.pretrained import Pretrained, begin_as, read_pretrained
from leukonca.training.recipe import Recipe
from leukonca.training.seen import EARLIER

from .conftest import SEEN


@pytest.fixture(scope="module")
def parent(cells: Cells, split: Split, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parent") / "first"
    train(cells, split, recipe, folder, quiet=True)
    return folder


@pytest.fixture(scope="module")
def others(cells: Cells) -> Cells:
    """The same number of cells with other bytes, names and colors: another laboratory's."""
    darker = (cells.images * np.array([0.8, 0.7, 0.9])).astype(np.uint8)
    return replace(
        cells,
        center="folder",
        fingerprint="e" * 64,
        images=darker,
        paths=tuple(f"{path}.other.png" for path in cells.paths),
        digests=tuple(digest[::-1] for digest in cells.digests),
    )


def nothing_learned(recipe: Recipe) -> Recipe:
    """One epoch at a rate that moves no weight by more than a rounding."""
    return replace(recipe, epochs=1, learning_rate=1e-12, muon_rate=None, average=0.0, warmup=0)


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


@pytest.mark.parametrize("changes", [{"channels": 12}, {"hidden": 8}, {"patch": 2}])
def test_weights_of_another_shape_are_refused(
    others: Cells, recipe: Recipe, parent: Path, tmp_path: Path, changes: Mapping[str, int]
) -> None:
    architecture = replace(recipe.architecture, **{"channels": 13, **changes})
    other = replace(recipe, architecture=architecture, small_grid=None, small_grid_epochs=0)
    with pytest.raises(UsageError, match=r"its weights do not fit \("):
        train(others, split_cells(others, fold=1, folds=4), other, tmp_path, pretrained=read_pretrained(parent))
    assert not (tmp_path / "model.safetensors").exists()


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
    begin_as(new, pretrained, comprises)
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
    begin_as(fine, Pretrained("coarse", model, ()), EACH_ITSELF)
    rows, old = fine.head[-1].weight, model.head[-1].weight
    torch.testing.assert_close(rows[7], old[0])
    torch.testing.assert_close(rows[8], old[0])
    torch.testing.assert_close(rows[9], old[1])


def _shape(pretrained: Pretrained) -> dict[str, int]:
    architecture = pretrained.model.config.architecture
    return {name: getattr(architecture, name) for name in ("channels", "hidden", "steps", "grid")}


def test_a_resumed_run_needs_the_same_beginning(others: Cells, recipe: Recipe, parent: Path, tmp_path: Path) -> None:
    split = split_cells(others, fold=1, folds=4)
    short = replace(recipe, epochs=1, draws=4, small_grid_epochs=0)
    train(others, split, short, tmp_path, pretrained=read_pretrained(parent), quiet=True)
    with pytest.raises(UsageError, match="other settings"):
        train(others, split, short, tmp_path, resume=True, quiet=True)
    train(others, split, short, tmp_path, pretrained=read_pretrained(parent), resume=True, quiet=True)


def test_what_was_seen_before_is_never_tested(
    cells: Cells, split: Split, others: Cells, recipe: Recipe, parent: Path, tmp_path: Path
) -> None:
    """Three trainings in a row, on three sets of cells; of the first set only its own test part is left."""
    short = replace(recipe, epochs=1, draws=4, small_grid_epochs=0)
    theirs = split_cells(others, fold=1, folds=4)
    second, third = tmp_path / "second", tmp_path / "third"
    train(others, theirs, short, second, pretrained=read_pretrained(parent), quiet=True)
    last = replace(
        others,
        fingerprint="d" * 64,
        paths=tuple(f"{path}.third.png" for path in cells.paths),
        digests=tuple(digest[1:] + "0" for digest in cells.digests),
    )
    model = train(
        last, split_cells(last, fold=2, folds=4), short, third, pretrained=read_pretrained(second), quiet=True
    )
    assert [each["model"] for each in model.config.data["pretrained"]] == ["second", "first"]
    config = leukonca.load(third).config
    indices, note = held_out(cells, config, third)
    assert indices.tolist() == split.test.tolist()
    assert "that first had seen, as which it began, are left out" in note
    assert held_out(others, config, third)[0].tolist() == theirs.test.tolist()
    assert held_out(last, config, third)[1] == "test fold 2 of 4, never used in training"

    only = cells.paths[split.train[0]], cells.digests[split.train[0]]
    seen = replace(cells, paths=only[:1], digests=only[1:], labels=cells.labels[:1], images=cells.images[:1])
    with pytest.raises(DataError, match="began as first, which was trained on all of these images"):
        held_out(seen, config, third)


def test_what_was_seen_before_must_be_told(others: Cells, recipe: Recipe, parent: Path, tmp_path: Path) -> None:
    short = replace(recipe, epochs=1, draws=4, small_grid_epochs=0)
    train(others, split_cells(others, fold=1, folds=4), short, tmp_path, pretrained=read_pretrained(parent), quiet=True)
    config = leukonca.load(tmp_path).config
    data = (tmp_path / EARLIER).read_bytes()
    for broken in (data[:-1] + bytes([data[-1] ^ 1]), data[:9]):
        (tmp_path / EARLIER).write_bytes(broken)
        with pytest.raises(DataError, match="not the split that this model was trained on"):
            held_out(others, config, tmp_path)
    (tmp_path / EARLIER).unlink()
    with pytest.raises(DataError, match=r"seen_earlier\.safetensors: missing"):
        held_out(others, config, tmp_path)


def test_of_a_model_without_its_split_the_note_says_so(
    cells: Cells, others: Cells, recipe: Recipe, parent: Path, tmp_path: Path
) -> None:
    lost = tmp_path / "lost"
    leukonca.load(parent).save(lost)  # a model folder alone
    short = replace(recipe, epochs=1, draws=4, small_grid_epochs=0)
    run = tmp_path / "run"
    train(others, split_cells(others, fold=1, folds=4), short, run, pretrained=read_pretrained(lost), quiet=True)
    config = leukonca.load(run).config
    assert "it began as lost, of which nobody knows the training images" in held_out(others, config, run)[1]
    with pytest.raises(DataError, match="began as lost, which was trained on this center"):
        held_out(cells, config, run)


def test_a_test_that_would_flatter_is_refused(cells: Cells, split: Split, parent: Path) -> None:
    pretrained = read_pretrained(parent)
    check_unseen(cells, split, pretrained)
    mixed = replace(split, test=np.sort(np.concatenate([split.test, split.train[:2]])))
    with pytest.raises(UsageError, match=f"2 of the {len(mixed.test)} images of the test were seen by first"):
        check_unseen(cells, mixed, pretrained)
    with pytest.raises(DataError, match="trained on all of these images"):
        check_unseen(cells, split_cells(cells, fold=1, folds=4), pretrained)


def test_synthetic_stays_synthetic(cells: Cells, split: Split, others: Cells, recipe: Recipe, tmp_path: Path) -> None:
    short = replace(recipe, epochs=1, draws=4, small_grid_epochs=0)
    train(cells, split, short, tmp_path / "made", synthetic=True, quiet=True)
    began = read_pretrained(tmp_path / "made")
    train(others, split_cells(others, fold=1, folds=4), short, tmp_path / "real", pretrained=began, quiet=True)
    config = json.loads((tmp_path / "real" / "config.json").read_text())
    assert config["data"]["synthetic"] is True
