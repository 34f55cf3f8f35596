"""Distillation: a training follows the probabilities of teachers, and these have seen nothing but its own split."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import leukonca
from leukonca.data.cells import Cells
from leukonca.data.splits import Split, split_cells
from leukonca.errors import UsageError
from leukonca.evaluation.holdout import held_out
from leukonca.models.aecfe_architecture import AECFEArchitecture
from leukonca.models.building import build
from leukonca.models.config import ModelConfig
from leukonca.models.folder import weights_digest
from leukonca.models.presets import Architecture, ResNeXtArchitecture
from leukonca.taxonomy import CLASSES
from leukonca.training import loop
from leukonca.training.loop import train
from leukonca.training.objective import loss_of
from leukonca.training.pretrained import Pretrained, read_pretrained
from leukonca.training.recipe import Recipe, to_json
from leukonca.training.recipe_files import from_json
from leukonca.training.teacher import Teachers

from .conftest import SEEN
from .test_pretrained import stopped_after


@pytest.fixture
def short(recipe: Recipe) -> Recipe:
    return replace(recipe, epochs=1, draws=8, small_grid_epochs=0)


@pytest.fixture(scope="module")
def teacher(cells: Cells, split: Split, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A residual network, as the kind of a teacher is free."""
    folder = tmp_path_factory.mktemp("teacher") / "large"
    network = ResNeXtArchitecture(grid=16, blocks=(1, 1, 1, 1), width=8, groups=2, group_width=8)
    settings = replace(
        recipe, architecture=network, muon_rate=None, epochs=1, draws=8, small_grid=None, small_grid_epochs=0
    )
    train(cells, split, settings, folder, quiet=True)
    return folder


def saying(folder: Path, label: int) -> Pretrained:
    """That teacher, sure of one class whatever it sees."""
    sure = read_pretrained(folder)
    with torch.no_grad():
        sure.model.get_parameter("fc.weight").zero_()
        sure.model.get_parameter("fc.bias").fill_(-10.0)[label] = 10.0
    return sure


def test_settings_of_runs_without_a_teacher_are_what_they_were() -> None:
    """So that a run from before there were teachers can still be resumed."""
    assert "teacher_share" not in to_json(Recipe())
    assert from_json(to_json(Recipe())).teacher_share is None
    assert from_json(to_json(Recipe(teacher_share=0.5))).teacher_share == 0.5


@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_the_loss_is_shared_between_labels_and_teacher(loss: Any) -> None:
    settings = Recipe(loss=loss, teacher_share=0.25)
    logits = torch.tensor([[0.5, -1.0, 2.0], [0.0, 0.3, 0.1]])
    labels = torch.tensor([2, 0])
    taught = torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.4, 0.0]])
    log_p = logits - logits.exp().sum(dim=1, keepdim=True).log()
    followed = -(taught * log_p).sum(dim=1).mean()
    expected = 0.25 * followed + 0.75 * loss_of(logits, labels, settings)
    torch.testing.assert_close(loss_of(logits, labels, settings, taught), expected)


def test_a_student_learns_what_its_teacher_says(
    cells: Cells, split: Split, recipe: Recipe, teacher: Path, tmp_path: Path
) -> None:
    """A teacher that calls everything one class, right or wrong, is followed when the labels do not count."""
    label = CLASSES.index(SEEN[1])
    settings = replace(recipe, epochs=2, draws=32, small_grid_epochs=0, warmup=0, teacher_share=1.0)
    model = train(cells, split, settings, tmp_path, teachers=[saying(teacher, label)], quiet=True)
    images = torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert model(images).argmax(dim=1).tolist() == [label] * 16


def test_probabilities_are_the_mean_at_each_ones_temperature(teacher: Path) -> None:
    one, two = read_pretrained(teacher), read_pretrained(teacher)
    two.model.config = replace(two.model.config, temperature=2.5)
    images = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    seeds, colors = np.arange(5, dtype=np.uint32), one.model.config.normalisation()
    logits = one.model(images, seed=seeds)
    expected = ((logits / one.model.config.temperature).softmax(dim=1) + (logits / 2.5).softmax(dim=1)) / 2
    said = Teachers([one, two]).probabilities(images, seeds, colors)
    torch.testing.assert_close(said, expected)
    assert not said.requires_grad


def test_a_teacher_of_another_grid_sees_the_views_in_its_own_pixels(
    cells: Cells, split: Split, short: Recipe, teacher: Path, tmp_path: Path
) -> None:
    """Students of 12 and of 24 pixels of a teacher of 16; resized as Pillow does."""
    one = read_pretrained(teacher)
    views = one.model.config.preprocessing
    assert views.grid == 16
    for side in (12, 24):
        images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(2))
        guides, seen = Teachers([one]), []
        guides.models[0].register_forward_pre_hook(lambda _, given, seen=seen: seen.append(given[0]))
        guides.probabilities(images, np.arange(2, dtype=np.uint32), one.model.config.normalisation())
        for ours, given in zip(seen[0].flatten(0, 1), images.flatten(0, 1), strict=True):
            expected = Image.fromarray(given.numpy()).resize((16, 16), Image.Resampling.BILINEAR)
            np.testing.assert_allclose(ours.numpy(), np.asarray(expected), atol=1e-5)
    for grid in (12, 24):
        architecture = replace(short.architecture, grid=grid)
        student = replace(short, architecture=architecture, small_grid=None, teacher_share=0.5)
        seen = replace(cells, preprocessing=replace(cells.preprocessing, grid=grid))
        assert views.in_pixels_of(seen.preprocessing) == seen.preprocessing
        assert views.in_pixels_of(views) is views
        side = seen.preprocessing.side
        seen = replace(seen, images=np.resize(cells.images, (len(cells), side, side, 3)))
        model = train(seen, split, student, tmp_path / str(grid), teachers=[one], quiet=True)
        assert [each["model"] for each in model.config.data["teachers"]] == ["large"]


def test_a_teacher_sees_the_views_in_its_own_colors(teacher: Path) -> None:
    one = read_pretrained(teacher)
    mean, std = (np.array(part, np.float32)[:, None, None] for part in one.model.config.normalisation())
    plain = np.random.default_rng(0).random((4, 3, 16, 16), np.float32)
    seeds = np.zeros(4, np.uint32)
    own = one.model(torch.from_numpy((plain - mean) / std)).softmax(dim=1)
    other = (0.1, 0.2, 0.3), (0.4, 0.5, 0.25)
    theirs = (plain - np.array(other[0])[:, None, None]) / np.array(other[1])[:, None, None]
    said = Teachers([one]).probabilities(torch.from_numpy(theirs.astype(np.float32)), seeds, other)
    torch.testing.assert_close(said, own, rtol=1e-3, atol=1e-4)


def test_teaching_leaves_the_teacher_as_it_was(
    cells: Cells, split: Split, short: Recipe, teacher: Path, tmp_path: Path
) -> None:
    one = read_pretrained(teacher)
    before = weights_digest(one.model.weights())
    train(cells, split, replace(short, teacher_share=0.5), tmp_path, teachers=[one], quiet=True)
    assert weights_digest(one.model.weights()) == before  # running statistics of its normalisation included


def test_the_student_tells_of_its_teacher(
    cells: Cells, split: Split, short: Recipe, teacher: Path, tmp_path: Path
) -> None:
    run = tmp_path / "student"
    train(cells, split, replace(short, teacher_share=0.5), run, teachers=[read_pretrained(teacher)], quiet=True)
    parameters = sum(value.numel() for value in leukonca.load(teacher).parameters())
    weights = weights_digest(leukonca.load(teacher).weights())
    told = [{"model": "large", "kind": "resnext", "parameters": parameters, "weights_sha256": weights}]
    config = leukonca.load(run).config
    assert list(config.teachers) == told
    recipe = json.loads((run / "recipe.json").read_text())
    assert recipe["teachers"] == told
    assert recipe["teacher_share"] == 0.5
    card = (run / "MODEL_CARD.md").read_text()
    assert f"- Taught by: large (resnext, {parameters:,} parameters), of the same split." in card
    assert "teachers" not in card
    indices, note = held_out(cells, config, run)
    assert indices.tolist() == split.test.tolist()
    assert note == "test fold 0 of 4, never used in training"
    assert read_pretrained(run).recipe.teacher_share is None  # who goes on from here needs no teacher


def test_a_resumed_run_needs_the_same_teacher_and_ends_alike(
    cells: Cells, split: Split, short: Recipe, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, run = replace(short, epochs=2, teacher_share=0.5), tmp_path / "run"
    whole = train(cells, split, settings, tmp_path / "whole", teachers=[read_pretrained(teacher)], quiet=True)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "write_log", stopped_after(1, loop.write_log))
        with pytest.raises(KeyboardInterrupt):
            train(cells, split, settings, run, teachers=[read_pretrained(teacher)], quiet=True)
    cooler = read_pretrained(teacher)
    cooler.model.config = replace(cooler.model.config, temperature=3.0)
    for other in (saying(teacher, 0), cooler):
        with pytest.raises(UsageError, match="other settings"):
            train(cells, split, settings, run, teachers=[other], resume=True, quiet=True)
    resumed = train(cells, split, settings, run, teachers=[read_pretrained(teacher)], resume=True, quiet=True)
    assert weights_digest(resumed.weights()) == weights_digest(whole.weights())


def config_of(teacher: Pretrained, **changes: Any) -> Pretrained:
    teacher.model.config = replace(teacher.model.config, **changes)
    return teacher


def data_of(teacher: Pretrained, **changes: Any) -> Pretrained:
    return config_of(teacher, data={**teacher.model.config.data, **changes})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda one: data_of(one, split_sha256=None), "was trained on other images, or on another split of them"),
        (lambda one: data_of(one, pretrained=[{"model": "first"}]), "began as first, whose images it tells of"),
        (lambda one: config_of(one, classes=CLASSES[::-1]), "answers with the classes smudge_cell, "),
        (
            lambda one: config_of(one, preprocessing=replace(one.model.config.preprocessing, margin=4)),
            "was trained on other views, with margin 4 (and not 2); train it with the same",
        ),
        (lambda one: config_of(one, image_um=20.0), "was trained on other views, with image_um 20.0 (and not "),
    ],
)
def test_a_teacher_of_other_images_views_or_classes_is_refused(
    cells: Cells,
    split: Split,
    short: Recipe,
    teacher: Path,
    tmp_path: Path,
    change: Callable[[Pretrained], Pretrained],
    told: str,
) -> None:
    one = change(read_pretrained(teacher))
    with pytest.raises(UsageError, match="--teacher large: .*" + re.escape(told)):
        train(cells, split, replace(short, teacher_share=0.5), tmp_path, teachers=[one], quiet=True)
    assert not list(tmp_path.iterdir())
    assert all(value.requires_grad for value in one.model.parameters())


def test_only_the_very_split_of_the_student_is_good_enough(
    cells: Cells, split: Split, short: Recipe, teacher: Path, tmp_path: Path
) -> None:
    """Whatever the seed of the run: another seed of the split, fold, share of validation images, or other bytes."""
    settings, other_bytes = replace(short, teacher_share=0.5), replace(cells, digests=cells.digests[::-1])
    others = [
        (cells, split_cells(cells, fold=1, folds=4)),
        (cells, split_cells(cells, fold=0, folds=4, seed=1)),
        (cells, split_cells(cells, fold=0, folds=4, validation_share=0.5)),
        (cells, replace(split, train=split.train[1:], test=np.sort(np.append(split.test, split.train[0])))),
        (other_bytes, split),
    ]
    for own_cells, own_split in others:
        with pytest.raises(UsageError, match="another split of them"):
            train(own_cells, own_split, settings, tmp_path, teachers=[read_pretrained(teacher)], quiet=True)
    official = replace(split, official=True)
    made = train(cells, official, replace(short, teacher_share=None), tmp_path / "official", seed=1, quiet=True)
    one = Pretrained("official", made, ())
    train(cells, official, settings, tmp_path / "student", seed=2, teachers=[one], quiet=True)


def test_teacher_and_student_see_the_same_views_with_the_same_masks(
    cells: Cells, split: Split, recipe: Recipe, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the whole grid; on a small one, which it may never have seen, nobody is asked."""
    asked: list[tuple[torch.Tensor, Any, Any]] = []
    seen: list[tuple[torch.Tensor, Any]] = []
    say, look = Teachers.probabilities, leukonca.NCAClassifier.forward

    def asking(self: Teachers, images: torch.Tensor, seeds: Any, colors: Any) -> torch.Tensor:
        asked.append((images, seeds, colors))
        return say(self, images, seeds, colors)

    def looking(self: leukonca.NCAClassifier, images: torch.Tensor, seed: Any = 0) -> torch.Tensor:
        if self.training:
            seen.append((images, seed))
        return look(self, images, seed=seed)

    monkeypatch.setattr(Teachers, "probabilities", asking)
    monkeypatch.setattr(leukonca.NCAClassifier, "forward", looking)
    settings = replace(recipe, epochs=2, draws=8, teacher_share=0.5)
    assert [settings.grid_of(epoch) for epoch in range(2)] == [10, 16]
    model = train(cells, split, settings, tmp_path, teachers=[read_pretrained(teacher)], quiet=True)
    assert [len(images) for images, _ in seen] == [4, 4, 4, 4]
    assert len(asked) == 2
    for (images, seeds, colors), (shown, masks) in zip(asked, seen[2:], strict=True):
        assert torch.equal(images, shown)
        assert np.array_equal(seeds, masks)
        assert colors == model.config.normalisation()


def test_share_and_teacher_go_together(
    cells: Cells, split: Split, short: Recipe, teacher: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"teacher_share is 0\.6, and there is no teacher; name one \(--teacher"):
        train(cells, split, replace(short, teacher_share=0.6), tmp_path, quiet=True)
    with pytest.raises(UsageError, match=r"there is a teacher, and teacher_share is none; set it, for example to 0\.6"):
        train(cells, split, short, tmp_path, teachers=[read_pretrained(teacher)], quiet=True)
    binary = replace(short, teacher_share=0.6, loss="binary_cross_entropy")
    with pytest.raises(UsageError, match="no probabilities over classes"):
        train(cells, split, binary, tmp_path, teachers=[read_pretrained(teacher)], quiet=True)
    for share in (0.0, 1.01, math.nan, "half"):
        with pytest.raises(UsageError, match="teacher_share is"):
            replace(short, teacher_share=share)


def test_a_kind_that_sees_no_normalised_views_cannot_teach(
    cells: Cells, split: Split, short: Recipe, tmp_path: Path
) -> None:
    model = build(AECFEArchitecture())
    with pytest.raises(UsageError, match="of kind aecfe, which does not see normalised views"):
        train(
            cells,
            split,
            replace(short, teacher_share=0.6),
            tmp_path,
            teachers=[Pretrained("forest", model, ())],
            quiet=True,
        )


@pytest.mark.parametrize("told", ["x", ["x"], {"model": "x"}])
def test_a_config_with_strange_teachers_is_damaged(told: object) -> None:
    with pytest.raises(leukonca.LeukoncaError, match=r"teachers is .*must be a list of tables, one a model"):
        ModelConfig(architecture=Architecture(channels=8), data={"teachers": told})
