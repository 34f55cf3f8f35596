import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leukonca.data.cells import load_cells
from leukonca.data.preprocessing import Preprocessing, preprocess
from leukonca.errors import DataError, UsageError

from .nine import SETTINGS, check_against_files, load


def test_cells_hold_what_the_files_hold(folder, tmp_path):
    cells = load(folder, tmp_path / "cache")
    check_against_files(cells, folder)
    assert cells.paths == tuple(
        f"{name}/{i}.png" for name in ("basophil", "eosinophil", "smudge_cell") for i in range(3)
    )
    assert cells.labels.tolist() == [0, 0, 0, 1, 1, 1, 12, 12, 12]
    assert cells.groups.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 1]
    assert cells.class_counts["basophil"] == 3
    assert cells.class_counts["monocyte"] == 0
    assert cells.skipped == ()
    for array in (cells.images, cells.labels, cells.groups):
        assert not array.flags.writeable


def test_real_cells_are_in_place(shared_data, tmp_path):
    settings = Preprocessing(16, margin=2, field_um=28.0)
    cells = load_cells("acevedo20", shared_data / "acevedo20-originals", settings, cache_dir=tmp_path)
    assert cells.images.shape == (80, 20, 20, 3)
    assert cells.image_um == 36.0
    path = shared_data / "acevedo20-originals" / cells.paths[41]
    np.testing.assert_array_equal(cells.images[41], preprocess(np.asarray(Image.open(path)), settings, 36.0))
    other = load_cells("acevedo20", shared_data / "acevedo20-originals", settings, image_um=30.0, cache_dir=tmp_path)
    np.testing.assert_array_equal(other.images[41], preprocess(np.asarray(Image.open(path)), settings, 30.0))
    assert other.fingerprint != cells.fingerprint


def test_the_fingerprint_does_not_depend_on_the_place_or_the_time(folder, tmp_path):
    first = load(folder, tmp_path / "cache")
    shutil.copytree(folder, tmp_path / "elsewhere")
    os.utime(tmp_path / "elsewhere" / "basophil" / "0.png", (0, 0))
    assert load(tmp_path / "elsewhere", tmp_path / "cache").fingerprint == first.fingerprint


def spoil(folder: Path) -> None:
    (folder / "basophil" / "0.png").write_text("no image")
    path = folder / "eosinophil" / "2.png"
    path.write_bytes(path.read_bytes()[:-400])


def test_unreadable_files_are_named_with_their_reasons(folder, tmp_path):
    spoil(folder)
    with pytest.raises(DataError) as caught:
        load(folder, tmp_path / "cache")
    message = str(caught.value)
    assert "2 of 9 images cannot be read" in message
    assert "\n  basophil/0.png: not an image" in message
    assert "\n  eosinophil/2.png: damaged or truncated" in message
    assert "--skip-unreadable" in message


def test_unreadable_files_can_be_skipped(folder, tmp_path, decoded):
    spoil(folder)
    for _ in range(2):
        cells = load(folder, tmp_path / "cache", unreadable="skip")
        assert [path for path, _ in cells.skipped] == ["basophil/0.png", "eosinophil/2.png"]
        assert len(cells) == 7
        check_against_files(cells, folder)
    assert len(decoded) == 9
    with pytest.raises(DataError, match="2 of 9"):
        load(folder, tmp_path / "cache")
    assert len(decoded) == 9


def test_nothing_readable_at_all(folder, tmp_path):
    for path in folder.glob("*/*.png"):
        path.write_text("no image")
    with pytest.raises(DataError, match="none of its 9 images can be read"):
        load(folder, tmp_path / "cache", unreadable="skip")


def test_groups_are_those_of_the_contents_of_real_duplicates(shared_data, tmp_path):
    for name in ("eosinophil/EO_225902.jpg", "neutrophil/BNE_191112.jpg", "neutrophil/BNE_57734.jpg"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(shared_data / "acevedo20" / name, tmp_path / "data" / name)
    cells = load_cells("acevedo20", tmp_path / "data", SETTINGS)
    digests = [hashlib.md5((tmp_path / "data" / p).read_bytes()).hexdigest() for p in cells.paths]
    assert digests[0] == digests[1] != digests[2]
    assert cells.groups.tolist() == [0, 0, 1]
    assert cells.labels.tolist() == [1, 7, 7]


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"image_um": 0.0}, {"image_um": float("nan")}])
def test_wrong_settings(folder, tmp_path, wrong):
    with pytest.raises(UsageError):
        load(folder, tmp_path / "cache", **wrong)
