"""BloodMNIST from its file to a tested model."""

import csv
import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leukonca.cli import main
from leukonca.data.cells import load_cells
from leukonca.data.centers import ACEVEDO20, BLOODMNIST
from leukonca.data.check import check_folder
from leukonca.data.listing import detect_center
from leukonca.data.official import split_for
from leukonca.data.preprocessing import Preprocessing, preprocess
from leukonca.data.splits import read_split, write_split
from leukonca.errors import DataError, UsageError
from leukonca.evaluation.holdout import held_out
from leukonca.models.config import ModelConfig
from leukonca.models.presets import Architecture

SIZES = {"train": 40, "val": 16, "test": 24}
MEDMNIST = (  # as its INFO has them
    "basophil",
    "eosinophil",
    "erythroblast",
    "immature granulocytes",
    "lymphocyte",
    "monocyte",
    "neutrophil",
    "platelet",
)


def arrays(side: int = 28) -> dict[str, Any]:
    """The six arrays, each class as often as any other; its level of grey tells the class."""
    rng = np.random.default_rng(side)
    stored = {}
    for part, size in SIZES.items():
        labels = np.arange(size) % 8
        levels = 20 + 25 * labels[:, None, None, None] + rng.integers(0, 25, (size, side, side, 3))
        stored[f"{part}_images"] = levels.astype(np.uint8)
        stored[f"{part}_labels"] = labels[:, None].astype(np.uint8)
    return stored


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A small file of BloodMNIST's layout, as numpy writes it; one test image is also a training image."""
    stored = arrays()
    stored["test_images"][8] = stored["train_images"][0]
    (tmp_path / "blood").mkdir()
    np.savez_compressed(tmp_path / "blood" / "bloodmnist.npz", **stored)
    return tmp_path / "blood" / "bloodmnist.npz"


def test_its_description_is_that_of_medmnist_and_of_acevedo20s_folders():
    assert tuple(BLOODMNIST.labels) == MEDMNIST
    assert tuple(BLOODMNIST.comprises) == tuple(BLOODMNIST.labels.values())
    by_folder = dict.fromkeys(ACEVEDO20.home.values(), 0)
    for label, folder in ACEVEDO20.home.items():
        by_folder[folder] += ACEVEDO20.expected[label]
    renamed = {"ig": "immature granulocytes"}
    assert {renamed.get(folder, folder): n for folder, n in by_folder.items()} == dict(BLOODMNIST.expected)
    assert dict(BLOODMNIST.expected_parts) == {"train": 11_959, "val": 1_712, "test": 3_421}
    assert sum(BLOODMNIST.expected_parts.values()) == sum(BLOODMNIST.expected.values()) == 17_092


@pytest.mark.parametrize("settings", [Preprocessing(16, margin=2), Preprocessing(12, field_um=27.0)])
def test_cells_hold_what_numpy_reads(file, settings, tmp_path):
    cells = load_cells("bloodmnist", file, settings, cache_dir=tmp_path / "cache", quiet=True)
    stored = np.load(file)
    images = np.concatenate([stored[f"{part}_images"] for part in ("test", "train", "val")])
    labels = np.concatenate([stored[f"{part}_labels"] for part in ("test", "train", "val")])
    np.testing.assert_array_equal(cells.images, np.stack([preprocess(image, settings, 20.0) for image in images]))
    np.testing.assert_array_equal(cells.labels, labels[:, 0])
    assert cells.digests == tuple(hashlib.sha256(image.tobytes()).hexdigest() for image in images)
    assert cells.paths[:2] == ("test/00000 basophil", "test/00001 eosinophil")
    assert cells.paths == tuple(sorted(cells.paths))
    assert cells.classes == tuple(BLOODMNIST.comprises)
    assert (cells.image_um, len(cells)) == (20.0, 80)
    again = load_cells("bloodmnist", file.parent, settings, cache_dir=tmp_path / "cache", quiet=True)
    assert again.fingerprint == cells.fingerprint
    assert isinstance(again.images, np.memmap)


def test_a_changed_file_is_read_anew(file, tmp_path):
    settings = Preprocessing(16)
    before = load_cells("bloodmnist", file, settings, cache_dir=tmp_path / "cache")
    np.savez_compressed(file, **(arrays() | {"val_images": np.zeros((16, 28, 28, 3), np.uint8)}))
    after = load_cells("bloodmnist", file, settings, cache_dir=tmp_path / "cache")
    assert not after.images[-1].any()
    assert before.fingerprint != after.fingerprint


def test_the_official_split_is_used_as_it_is(file, tmp_path):
    cells = load_cells("bloodmnist", file, Preprocessing(8))
    split = split_for(cells, fold=0, seed=5)
    parts = {"train": split.train, "val": split.validation, "test": split.test}
    for part, members in parts.items():
        assert {cells.paths[i].split("/")[0] for i in members} == {part}
        assert len(members) == SIZES[part]
    write_split(tmp_path / "split.json", split, cells)
    back = read_split(tmp_path / "split.json", cells)  # though one image lies on two sides
    assert back.official
    assert back.test.tolist() == split.test.tolist()
    with pytest.raises(UsageError, match="official split and no folds"):
        split_for(cells, fold=1)


def test_folds_are_as_before_for_a_center_without_a_split(shared_data):
    cells = load_cells("acevedo20", shared_data / "acevedo20-originals", Preprocessing(8))
    split = split_for(cells, fold=2, folds=4)
    assert (split.fold, split.folds, split.official) == (2, 4, False)


def bad(name: str, value: Any) -> dict[str, Any]:
    return {**arrays(), name: value}


@pytest.mark.parametrize(
    ("stored", "fact"),
    [
        ({"train_images": np.zeros((2, 28, 28, 3), np.uint8)}, "test_labels"),
        (bad("val_images", np.zeros((15, 28, 28, 3), np.uint8)), "15 images and 16 labels of part val"),
        (bad("val_images", np.zeros((16, 28, 28), np.uint8)), "not uint8"),
        (bad("val_images", np.zeros((16, 28, 28, 3))), "float64"),
        (bad("val_images", np.zeros((16, 28, 30, 3), np.uint8)), "not uint8"),
        (bad("val_images", np.zeros((16, 4, 4, 3), np.uint8)), "not uint8"),
        (bad("val_labels", np.full((16, 1), 8, np.uint8)), "labels of part val from 8 to 8"),
        (bad("val_labels", np.full((16, 1), -1, np.int64)), "labels of part val from -1"),
        (bad("val_labels", np.full((16, 8), 1, np.uint8)), "not integers"),
        (bad("val_labels", np.full((16, 1), 0.5)), "not integers"),
        (bad("val_labels", np.array([[object()]] * 16)), "stored in another way"),
    ],
)
@pytest.mark.filterwarnings("ignore:pickle")
def test_other_files_are_refused(tmp_path, stored, fact):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pickle.dump", lambda *_, **__: None)  # what is in it must not matter
        np.savez(tmp_path / "bloodmnist.npz", **stored)
    with pytest.raises(DataError, match=fact):
        load_cells("bloodmnist", tmp_path, Preprocessing(8))


def test_damaged_and_missing_files_are_refused(file, tmp_path):
    content = file.read_bytes()
    with pytest.raises(DataError, match="no such file"):
        load_cells("bloodmnist", tmp_path / "nowhere", Preprocessing(8))
    with pytest.raises(DataError, match=r"holds no bloodmnist\*.npz"):
        load_cells("bloodmnist", tmp_path, Preprocessing(8))
    middle = len(content) // 2
    for damaged in (b"", b"no zip", content[:-100], content[:middle] + b"\0\xff" * 50 + content[middle + 100 :]):
        file.write_bytes(damaged)
        with pytest.raises(DataError, match="not a whole file of BloodMNIST"):
            load_cells("bloodmnist", file, Preprocessing(8), cache_dir=tmp_path / "cache")
    with zipfile.ZipFile(file, "w") as archive:
        for part in SIZES:
            for what in ("images", "labels"):
                archive.writestr(f"{part}_{what}.npy", b"\x93NUMPY\x01\0v\0{'descr': __import__('os')}" + b" " * 99)
    with pytest.raises(DataError, match="not a whole file"):
        load_cells("bloodmnist", file, Preprocessing(8))


def test_of_two_files_one_must_be_named(file):
    np.savez(file.with_name("bloodmnist_64.npz"), **arrays())
    with pytest.raises(UsageError, match=r"holds bloodmnist.npz, bloodmnist_64.npz; name one"):
        load_cells("bloodmnist", file.parent, Preprocessing(8))


def test_check_knows_it_by_its_file(file, capsys):
    assert detect_center(file) is detect_center(file.parent) is BLOODMNIST
    found = check_folder(file)
    assert dict(found.counts) == dict.fromkeys(MEDMNIST, 10)
    assert dict(found.parts) == SIZES
    assert [twins.paths for twins in found.identical] == [("test/00008 basophil", "train/00000 basophil")]
    assert main(["data", "check", str(file.parent)]) == 0
    out = capsys.readouterr().out
    assert "Official split: train 40, val 16, test 24." in out
    assert "1,208 missing" in out
    assert main(["data", "stats", str(file), "--quiet"]) == 0


SMALL = ["--preset", "tiny", "--channels", "6", "--hidden", "8", "--steps", "4", "--grid", "12", "--epochs", "2"]


def test_a_model_of_it_is_trained_and_tested_beside_medmnists(file, shared_data, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", "--data", f"bloodmnist={file}", "--out", str(run), *SMALL]) == 0
    assert "40 images to train on, 16 to watch, 24 for the test" in capsys.readouterr().out
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    assert tuple(config["classes"]) == tuple(BLOODMNIST.comprises)
    assert config["data"]["split"] == "official"
    assert "fold" not in config["data"]
    own = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["centers"]["bloodmnist"]
    assert own["images"] == 24
    assert own["note"].startswith("official test part of bloodmnist, 1 of its images byte-identical to a training")
    assert main(["evaluate", str(run), "--data", f"bloodmnist={file.parent}", "--out", str(tmp_path / "again")]) == 0
    again = json.loads((tmp_path / "again" / "metrics.json").read_text(encoding="utf-8"))["centers"]["bloodmnist"]
    assert (again["images"], again["accuracy"]) == (24, own["accuracy"])
    assert "official test part, 1 of its images byte-identical" in again["note"]
    rows = list(csv.DictReader((run / "predictions.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["path"] for row in rows][:1] == ["test/00000 basophil"]
    assert all(row["truth"] == BLOODMNIST.labels[row["path"].partition(" ")[2]] for row in rows)
    capsys.readouterr()
    acevedo = f"acevedo20={shared_data / 'acevedo20-originals'}"
    assert main(["evaluate", str(run), "--data", acevedo, "--out", str(tmp_path / "leak")]) == 3
    assert "shows the cells of bloodmnist under other names" in capsys.readouterr().err
    assert (
        main(["evaluate", str(run), "--data", f"bloodmnist={file}", "--fold", "2", "--out", str(tmp_path / "x")]) == 2
    )


def test_a_model_of_acevedo20_is_not_tested_on_its_own_cells_under_other_names(file, tmp_path):
    cells = load_cells("bloodmnist", file, Preprocessing(8))
    config = ModelConfig(architecture=Architecture(grid=8), data={"center": "acevedo20"})
    with pytest.raises(DataError, match="shows the cells of acevedo20"):
        held_out(cells, config, tmp_path)
    indices, note = held_out(cells, ModelConfig(architecture=Architecture(grid=8), data={"center": "x"}), tmp_path)
    assert len(indices) == 80
    indices, note = held_out(cells, ModelConfig(architecture=Architecture(grid=8), data={"center": "x"}), tmp_path, 0)
    assert len(indices) == 24
    assert note.startswith("official test part")


def test_the_fold_of_a_recipe_is_none_of_an_official_splits(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, out = tmp_path / "mine.toml", tmp_path / "run"
    recipe.write_text(
        'preset = "tiny"\nepochs = 1\ndraws = 8\n[architecture]\nchannels = 8\nhidden = 8\nsteps = 2\ngrid = 16\n'
        "[run]\nfold = 2\n"
    )
    call = ["train", "--recipe", str(recipe), "--data", f"bloodmnist={file}", "--quiet", "--out", str(out)]
    assert main([*call, "--fold", "2"]) == 2
    assert "has an official split and no folds; leave --fold out" in capsys.readouterr().err
    assert main(call) == 0
    assert json.loads((out / "config.json").read_text())["data"]["split"] == "official"
