"""What the models had seen that a model began as, and that is never tested."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import leukonca
from leukonca.data.cells import Cells
from leukonca.data.splits import Split, split_cells, write_split
from leukonca.errors import DataError, ModelError, UsageError
from leukonca.evaluation.holdout import held_out
from leukonca.models.config import ModelConfig
from leukonca.models.presets import preset
from leukonca.report.training import check_unseen, train_and_test
from leukonca.training.loop import train
from leukonca.training.pretrained import read_pretrained
from leukonca.training.recipe import Recipe
from leukonca.training.seen import EARLIER, SPLIT, Training, earlier_trainings, read_seen, write_earlier

from ..evaluation.test_holdout import forty


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


def test_what_several_models_had_seen_is_kept_once(cells: Cells, split: Split, tmp_path: Path) -> None:
    """Two trainings on the same images, and a third on others or on these as well."""
    write_split(tmp_path / SPLIT, split, cells)
    seen = read_seen(tmp_path, ModelConfig(architecture=preset("tiny")), needed=True)
    data = {"center": cells.center, "fingerprint": cells.fingerprint, "fold": 0, "folds": 4}
    fine, coarse = (Training(data, 0, seen, name, "0" * 64) for name in ("fine", "coarse"))
    facts = write_earlier(tmp_path / EARLIER, [fine, coarse])
    assert [each.get("seen_as") for each in facts["pretrained"]] == [None, 0]
    assert {name.partition(".")[0] for name in safetensors.numpy.load_file(tmp_path / EARLIER)} == {"0"}
    config = ModelConfig(architecture=preset("tiny"), data=facts)
    assert earlier_trainings(tmp_path, config) == (fine, coarse)
    own = write_earlier(tmp_path / EARLIER, [fine, coarse], seen)
    assert [each.get("same_images") for each in own["pretrained"]] == [True, True]
    assert not (tmp_path / EARLIER).exists()
    assert earlier_trainings(tmp_path, ModelConfig(architecture=preset("tiny"), data=own)) == (fine, coarse)
    wrong = [{**each, "seen_as": 5} for each in facts["pretrained"]]
    with pytest.raises(DataError, match="damaged"):
        earlier_trainings(tmp_path, ModelConfig(architecture=preset("tiny"), data={"pretrained": wrong}))


def test_a_damaged_memory_is_noticed_and_a_lost_one_is_said(
    cells: Cells, others: Cells, recipe: Recipe, parent: Path, tmp_path: Path
) -> None:
    short = replace(recipe, epochs=1, draws=4, small_grid_epochs=0)
    train(others, split_cells(others, fold=1, folds=4), short, tmp_path, pretrained=read_pretrained(parent), quiet=True)
    config = leukonca.load(tmp_path).config
    data = (tmp_path / EARLIER).read_bytes()
    (tmp_path / EARLIER).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(DataError) as found:
        held_out(others, config, tmp_path)
    assert str(found.value) == (
        f"{tmp_path / EARLIER}: belongs to another model, or is damaged; copy the model folder again"
    )
    for broken in (data[:9], safetensors.numpy.save({"0.names": np.zeros((2, 6), np.uint8)})):
        (tmp_path / EARLIER).write_bytes(broken)
        told = {**config.data, "seen_earlier_sha256": hashlib.sha256(broken).hexdigest()}
        with pytest.raises(DataError, match=r"seen_earlier\.safetensors: damaged"):
            held_out(others, replace(config, data=told), tmp_path)
    (tmp_path / EARLIER).unlink()
    assert "of which nobody knows the training images" in held_out(others, config, tmp_path)[1]
    with pytest.raises(DataError, match="began as first, which was trained on this center"):
        held_out(cells, config, tmp_path)


@pytest.mark.parametrize("told", ["x", ["x"], {"model": "x"}])
def test_a_config_with_a_strange_past_is_damaged(parent: Path, told: object) -> None:
    config = leukonca.load(parent).config
    with pytest.raises(ModelError, match="must be a list of tables"):
        replace(config, data={**config.data, "pretrained": told})


def test_of_a_model_without_its_split_every_note_says_so(
    cells: Cells, others: Cells, recipe: Recipe, parent: Path, tmp_path: Path
) -> None:
    lost, run = tmp_path / "lost", tmp_path / "run"
    leukonca.load(parent).save(lost)  # a model folder alone
    short, split = replace(recipe, epochs=1, draws=4, small_grid_epochs=0), split_cells(others, fold=1, folds=4)
    began = read_pretrained(lost)
    evaluation = train_and_test(others, split, short, run, command="", pretrained=began, quiet=True)
    unknown = "it began as lost, of which nobody knows the training images"
    assert unknown in evaluation.note
    assert "normalised with the first model's colors" in evaluation.note
    assert unknown in leukonca.load(run).config.metrics["note"]
    assert unknown in held_out(others, leukonca.load(run).config, run)[1]
    with pytest.raises(DataError, match="began as lost, which was trained on this center"):
        held_out(cells, leukonca.load(run).config, run)


def test_a_test_that_would_flatter_is_refused(cells: Cells, split: Split, parent: Path) -> None:
    trainings = read_pretrained(parent).trainings
    assert check_unseen(cells, split, trainings, "note") == "note"
    mixed = replace(split, test=np.sort(np.concatenate([split.test, split.train[:2]])))
    told = f"2 of the {len(mixed.test)} images of the test were seen by first (fold 0 of 4, seed 0)"
    with pytest.raises(UsageError, match=re.escape(told)):
        check_unseen(cells, mixed, trainings)
    with pytest.raises(UsageError, match=r"trained on all of these images.*that of first \(fold 0 of 4, seed 0\)"):
        check_unseen(cells, split_cells(cells, fold=1, folds=4), trainings)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_shipped_model_recognises_what_it_has_seen(suffix: str, tmp_path: Path) -> None:
    """By name in its own center, whatever the bytes, from the packed keys; the same cells as BloodMNIST are refused."""
    home = forty("acevedo20")
    split = split_cells(home, fold=2, seed=5)
    write_split(tmp_path / SPLIT, split, home)
    config = ModelConfig(architecture=preset("tiny"), data={"center": "acevedo20", "fold": 2, "folds": 5})
    seen = read_seen(tmp_path, config, needed=True)
    past = [Training(config.data, 5, seen, "shipped", "0" * 64)]
    later = tmp_path / "later"
    later.mkdir()
    data = {"center": "folder", "fold": 0, "folds": 5, **write_earlier(later / EARLIER, past)}
    child = ModelConfig(architecture=preset("tiny"), data=data)
    resized = forty("acevedo20", suffix=suffix, bytes_of="resized")
    indices, note = held_out(resized, child, later)
    assert indices.tolist() == split.test.tolist()
    assert "32 that shipped had seen, as which it began, are left out" in note
    with pytest.raises(DataError, match="shows the cells of acevedo20 under other names"):
        held_out(forty("bloodmnist"), child, later)
