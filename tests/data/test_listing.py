import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leukonca.data.listing import find_images, list_images
from leukonca.errors import DataError, UsageError
from leukonca.taxonomy import ACEVEDO20_LABELS, CLASSES


def touch(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")
    return root


def test_acevedo20_is_complete(shared_data):
    listing = list_images("acevedo20", shared_data / "acevedo20")
    assert len(listing.paths) == 14543
    assert len(np.unique(listing.labels)) == 10
    assert {**Counter(listing.own_labels), **listing.dropped} == dict(listing.center.expected)
    assert listing.unmatched == ()
    for path, own, label in zip(listing.paths, listing.own_labels, listing.labels, strict=True):
        assert path.split("/")[1].startswith(own + "_")
        assert ACEVEDO20_LABELS[own] == CLASSES[label]


def test_untouched_originals_get_the_labels_of_their_resized_copies(shared_data):
    originals = list_images("acevedo20", shared_data / "acevedo20-originals")
    resized = list_images("acevedo20", shared_data / "acevedo20")
    label = dict(zip(resized.paths, resized.labels, strict=True))
    assert len(originals.paths) == 80
    assert dict(originals.dropped) == {"IG": 8, "NEUTROPHIL": 8, "PLATELET": 8}
    assert [label[path] for path in originals.paths] == originals.labels.tolist()


def test_the_extra_folder_of_the_official_zip_changes_nothing(tmp_path, shared_data):
    (tmp_path / "PBC_dataset_normal_DIB").symlink_to(shared_data / "acevedo20-originals")
    inside = list_images("acevedo20", tmp_path)
    direct = list_images("acevedo20", shared_data / "acevedo20-originals")
    assert [path.removeprefix("PBC_dataset_normal_DIB/") for path in inside.paths] == list(direct.paths)
    assert inside.labels.tolist() == direct.labels.tolist()


def test_other_centers(tmp_path):
    matek = touch(tmp_path / "m", "AML/BAS/BAS_0001.tiff", "AML/MOB/MOB_0001.tiff", "AML/PMB/PMB_0001.tiff")
    listing = list_images("matek19", matek)
    assert listing.paths == ("AML/BAS/BAS_0001.tiff", "AML/MOB/MOB_0001.tiff")
    assert [CLASSES[label] for label in listing.labels] == ["basophil", "monocyte"]
    assert dict(listing.dropped) == {"PMB": 1}
    mll = touch(tmp_path / "l", "normoblast/normoblast_0001.TIF", "plasma_cell/plasma_cell_1.TIF")
    listing = list_images("mll23", mll)
    assert [CLASSES[label] for label in listing.labels] == ["erythroblast"]
    own = touch(tmp_path / "f", "smudge_cell/a/1.png", "basophil/1.png")
    listing = list_images("folder", own)
    assert listing.paths == ("basophil/1.png", "smudge_cell/a/1.png")
    assert listing.labels.tolist() == [0, 12]
    assert listing.labels.dtype == np.int64


def test_files_that_no_rule_matches_stop_the_load_unless_skipped(tmp_path):
    touch(tmp_path, "basophil/BA_1.jpg", "basophil/what.jpg", *(f"basophil/XX_{i:02}.jpg" for i in range(20)))
    with pytest.raises(DataError) as caught:
        list_images("acevedo20", tmp_path)
    message = str(caught.value)
    assert "21 images have no label of center acevedo20" in message
    assert "basophil/XX_00.jpg" in message
    assert "and 11 more" in message
    assert "XX_10" not in message
    assert "--skip-unmatched" in message
    listing = list_images("acevedo20", tmp_path, unmatched="skip")
    assert listing.paths == ("basophil/BA_1.jpg",)
    assert len(listing.unmatched) == 21


def test_no_stale_label_is_kept_for_a_file_without_one(tmp_path):
    touch(tmp_path, "a/BA_1.jpg", "a/BA_2.jpg", "a/b.jpg", "a/EO_1.jpg")
    listing = list_images("acevedo20", tmp_path, unmatched="skip")
    assert listing.paths == ("a/BA_1.jpg", "a/BA_2.jpg", "a/EO_1.jpg")
    assert listing.labels.tolist() == [0, 0, 1]


def test_only_images_count_and_hidden_ones_do_not(tmp_path):
    touch(
        tmp_path,
        "basophil/1.JPG",
        "basophil/Thumbs.db",
        "basophil/.DS_Store",
        "basophil/.DS_169665.jpg",
        "__MACOSX/basophil/._1.jpg",
        ".hidden/2.jpg",
        "README.txt",
    )
    assert list_images("folder", tmp_path).paths == ("basophil/1.JPG",)


def test_class_folders_must_have_class_names(tmp_path):
    touch(tmp_path, "basophil/1.png", "neutrophil/1.png", "Monocytes/1.png")
    with pytest.raises(DataError) as caught:
        list_images("folder", tmp_path)
    message = str(caught.value)
    assert "no class is called Monocytes, neutrophil." in message
    assert all(name in message for name in CLASSES)
    assert list_images("folder", tmp_path, unmatched="skip").paths == ("basophil/1.png",)


def test_an_empty_class_folder_is_named(tmp_path):
    touch(tmp_path, "basophil/1.png", "monocyte/notes.txt")
    (tmp_path / "eosinophil").mkdir()
    with pytest.raises(DataError, match="no images in the class folder eosinophil, monocyte"):
        list_images("folder", tmp_path)


def test_an_image_outside_of_any_class_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=r"1 image has no label of center folder: stray\.png"):
        list_images("folder", touch(tmp_path, "basophil/1.png", "stray.png"))


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        list_images("folder", tmp_path / "nowhere")
    with pytest.raises(DataError, match="not a folder"):
        list_images("folder", touch(tmp_path, "a.png") / "a.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images"):
        list_images("acevedo20", tmp_path / "empty")
    with pytest.raises(UsageError, match="no center 'nope'"):
        list_images("nope", tmp_path)
    only_dropped = touch(tmp_path / "dropped", "platelet/PLATELET_1.jpg")
    with pytest.raises(DataError, match="none of its 1 images"):
        list_images("acevedo20", only_dropped)


def test_a_link_to_a_folder_above_ends(tmp_path):
    touch(tmp_path, "basophil/1.png")
    (tmp_path / "basophil" / "again").symlink_to(tmp_path, target_is_directory=True)
    assert find_images(tmp_path) == ("basophil/1.png",)


names = st.text("abAB1_-. é", min_size=1, max_size=6).filter(lambda name: name.strip(". ") == name)


@settings(max_examples=25, deadline=None)
@given(files=st.lists(st.tuples(names, names), min_size=1, max_size=12), shuffle=st.randoms())
def test_the_order_is_that_of_code_points_however_files_were_made(tmp_path_factory, files, shuffle):
    root = tmp_path_factory.mktemp("order")
    wanted = {f"{folder}/{name}.png" for folder, name in files}
    made = sorted(wanted)
    shuffle.shuffle(made)
    touch(root, *made)
    found = find_images(root)
    shutil.rmtree(root)
    assert list(found) == sorted(wanted)
