"""Nothing that a model was trained on may be tested, under whatever name it comes."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from leukonca.data.cells import Cells
from leukonca.data.preprocessing import Preprocessing
from leukonca.data.splits import split_cells, write_split
from leukonca.errors import DataError, UsageError
from leukonca.evaluation.holdout import held_out
from leukonca.models.config import ModelConfig
from leukonca.models.presets import preset

FOLDERS = {8: "neutrophil", 9: "monocyte"}


def cells_of(center: str, paths: list[str], contents: list[str]) -> Cells:
    digests = [hashlib.sha256(content.encode()).hexdigest() for content in contents]
    return Cells(
        center=center,
        paths=tuple(paths),
        labels=np.array([9 if "monocyte" in path else 8 for path in paths], dtype=np.int64),
        images=np.zeros((len(paths), 2, 2, 3), np.uint8),
        groups=np.unique(digests, return_inverse=True)[1].astype(np.int64),
        preprocessing=Preprocessing(2),
        image_um=36.0,
        fingerprint="f" * 64,
        digests=tuple(digests),
    )


def forty(center: str, prefix: str = "", suffix: str = ".jpg", bytes_of: str = "original") -> Cells:
    names = [f"{folder}/{folder[:2].upper()}_{i:03}" for folder in FOLDERS.values() for i in range(20)]
    return cells_of(
        center, sorted(f"{prefix}{name}{suffix}" for name in names), [f"{bytes_of} {name}" for name in sorted(names)]
    )


@pytest.fixture(params=["acevedo20", "folder"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[ModelConfig, Cells]:
    """A run on forty cells: its config, its cells; its split lies in tmp_path."""
    cells = forty(request.param)
    split = split_cells(cells, fold=2, seed=5)
    write_split(tmp_path / "split.json", split, cells)
    digest = hashlib.sha256((tmp_path / "split.json").read_bytes()).hexdigest()
    data = {"center": cells.center, "fold": 2, "folds": 5, "split_sha256": digest}
    config = ModelConfig(architecture=preset("tiny"), data=data, recipe={"seed": 5})
    return config, cells


def names(cells: Cells, indices: np.ndarray) -> set[str]:
    return {Path(cells.paths[i]).stem for i in indices}


def left_for_test(folder: Path) -> set[str]:
    return {Path(path).stem for path in json.loads((folder / "split.json").read_text())["test"]}


def test_home_is_the_test_fold(run: tuple[ModelConfig, Cells], tmp_path: Path) -> None:
    config, cells = run
    indices, note = held_out(cells, config, tmp_path)
    assert names(cells, indices) == left_for_test(tmp_path)
    assert len(indices) == 8
    assert note == "test fold 2 of 5, never used in training"
    assert np.array_equal(held_out(cells, config, tmp_path, fold=2)[0], indices)


@pytest.mark.parametrize("prefix", ["", "PBC_dataset_normal_DIB/", "a/b/"])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_copies_of_a_public_center_are_known_by_name(tmp_path: Path, prefix: str, suffix: str) -> None:
    """Resized, converted, or under one more folder: other bytes, the same cells."""
    cells = forty("acevedo20")
    write_split(tmp_path / "split.json", split_cells(cells, fold=2, seed=5), cells)
    config = ModelConfig(architecture=preset("tiny"), data={"center": "acevedo20", "fold": 2, "folds": 5})
    copy = forty("acevedo20", prefix, suffix, bytes_of="resized")
    indices, _ = held_out(copy, config, tmp_path)
    assert names(copy, indices) == left_for_test(tmp_path)


def test_bytes_are_known_under_any_name_and_center(run: tuple[ModelConfig, Cells], tmp_path: Path) -> None:
    config, cells = run
    contents = [f"original {Path(path).parent.name}/{Path(path).stem}" for path in cells.paths]
    renamed = cells_of(
        "matek19", [f"{Path(path).parent.name}/x_{i:02}.tif" for i, path in enumerate(cells.paths)], contents
    )
    indices, note = held_out(renamed, config, tmp_path)
    assert {Path(cells.paths[i]).stem for i in indices} == left_for_test(tmp_path)
    assert "32 that were are left out" in note


def test_another_laboratory_with_the_same_file_names_is_tested_whole(tmp_path: Path) -> None:
    ours = forty("folder")
    write_split(tmp_path / "split.json", split_cells(ours, fold=2, seed=5), ours)
    config = ModelConfig(
        architecture=preset("tiny"), data={"center": "folder", "fold": 2, "folds": 5}, recipe={"seed": 5}
    )
    theirs = forty("folder", bytes_of="their own")
    indices, note = held_out(theirs, config, tmp_path)
    assert len(indices) == 40
    assert note == "all images, none of them byte-identical to a training image"
    one, note = held_out(theirs, config, tmp_path, fold=3)
    assert np.array_equal(one, split_cells(theirs, fold=3, seed=5).test)
    assert note.startswith("fold 3 of 5")


def test_nobody_claims_what_nobody_knows(run: tuple[ModelConfig, Cells], tmp_path: Path) -> None:
    config, cells = run
    other = forty("matek19", bytes_of="other")
    lost = tmp_path / "lost"
    assert "not known" in held_out(other, config, lost)[1]
    imported = ModelConfig(architecture=preset("tiny"))
    assert "not known" in held_out(other, imported, lost)[1]
    if cells.center != "folder":
        with pytest.raises(DataError, match=r"split\.json: missing"):
            held_out(cells, config, lost)
        strange = forty("acevedo20", bytes_of="other", suffix="_renamed.jpg")
        with pytest.raises(DataError, match="no file name is known"):
            held_out(strange, config, tmp_path)


def test_a_fold_that_was_trained_on_is_refused(tmp_path: Path) -> None:
    cells = forty("acevedo20")
    write_split(tmp_path / "split.json", split_cells(cells, fold=2, seed=5), cells)
    config = ModelConfig(architecture=preset("tiny"), data={"center": "acevedo20", "fold": 2, "folds": 5})
    with pytest.raises(UsageError, match="its test fold is 2"):
        held_out(cells, config, tmp_path, fold=0)


def test_a_split_of_another_run_is_refused(run: tuple[ModelConfig, Cells], tmp_path: Path) -> None:
    config, cells = run
    write_split(tmp_path / "split.json", split_cells(cells, fold=1, seed=5), cells)
    with pytest.raises(DataError, match="not the split that this model was trained on"):
        held_out(cells, config, tmp_path)
    (tmp_path / "split.json").write_text('{"train": [1')
    with pytest.raises(DataError, match=r"damaged|not the split"):
        held_out(cells, replace(config, data={"center": "acevedo20"}), tmp_path)


def test_nothing_left(run: tuple[ModelConfig, Cells], tmp_path: Path) -> None:
    config, cells = run
    split = split_cells(cells, fold=2, seed=5)
    only = [i for i in range(40) if i in set(split.train.tolist())]
    seen = cells_of(
        cells.center,
        [cells.paths[i] for i in only],
        [f"original {Path(cells.paths[i]).parent.name}/{Path(cells.paths[i]).stem}" for i in only],
    )
    with pytest.raises(DataError, match="none is left"):
        held_out(seen, config, tmp_path)
