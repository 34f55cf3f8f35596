import unicodedata
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from leukonca.data.cells import load_cells
from leukonca.data.check import check_folder
from leukonca.data.listing import list_images
from leukonca.data.mapping import read_map
from leukonca.data.preprocessing import Preprocessing
from leukonca.data.splits import read_split, split_cells, write_split
from leukonca.errors import DataError
from leukonca.taxonomy import CLASSES, EACH_ITSELF

REPOSITORY = Path(__file__).parents[2]


def write(folder: Path, text: str) -> Path:
    path = folder / "map.toml"
    path.write_text(text, encoding="utf-8")
    return path


def images(root: Path, *folders: str, each: int = 1) -> Path:
    for number, folder in enumerate(folders):
        (root / folder).mkdir(parents=True)
        for k in range(each):
            Image.new("RGB", (10, 10), (number, k, 90)).save(root / folder / f"{k}.png")
    return root


def test_own_names_for_the_13_classes_are_as_good_as_theirs(tmp_path):
    root = images(tmp_path / "cells", "Segmentkernige", "Monozyten", "Abfall")
    path = write(
        tmp_path,
        '[folders]\nSegmentkernige="neutrophil_segmented"\nMonozyten="monocyte"\nAbfall="ignore"\nNicht="monocyte"',
    )
    listing = list_images(read_map(path), root)
    assert listing.paths == ("Monozyten/0.png", "Segmentkernige/0.png")
    assert [CLASSES[label] for label in listing.labels] == ["monocyte", "neutrophil_segmented"]
    assert dict(listing.dropped) == {"Abfall": 1}
    assert listing.center.comprises == EACH_ITSELF


def test_one_coarser_class_makes_the_classes_those_of_the_map(tmp_path):
    root = images(tmp_path / "cells", "N", "L", "B", "M")
    path = write(
        tmp_path,
        '[folders]\nL="lymphocyte"\nN="granulocyte"\nM="monocyte"\nB="granulocyte"\n'
        '[classes]\ngranulocyte=["neutrophil_segmented","neutrophil_banded","basophil"]\nunused=["monocyte"]',
    )
    cells = load_cells(read_map(path), root, Preprocessing(8), quiet=True)
    assert cells.classes == ("granulocyte", "monocyte", "lymphocyte")
    assert cells.comprises["granulocyte"] == ("basophil", "neutrophil_banded", "neutrophil_segmented")
    assert dict(cells.class_counts) == {"granulocyte": 2, "monocyte": 1, "lymphocyte": 1}
    told = dict(zip(cells.paths, cells.labels.tolist(), strict=True))
    assert told == {"B/0.png": 0, "L/0.png": 2, "M/0.png": 1, "N/0.png": 0}
    assert cells.center == "folder"


def test_the_shipped_map_reads_the_real_centers(shared_data):
    mapped = read_map(REPOSITORY / "docs" / "maps" / "five-classes.toml")
    counts = {
        "jtsc": {"basophil": 1, "eosinophil": 22, "neutrophil": 176, "monocyte": 48, "lymphocyte": 53},
        "bccd": {"basophil": 3, "eosinophil": 88, "neutrophil": 207, "monocyte": 20, "lymphocyte": 33},
    }
    for name, expected in counts.items():
        listing = list_images(mapped, shared_data / name)
        classes = tuple(listing.center.comprises)
        assert {classes[k]: int((listing.labels == k).sum()) for k in range(5)} == expected
    assert mapped.comprises["neutrophil"] == ("neutrophil_banded", "neutrophil_segmented")
    assert mapped.comprises["lymphocyte"] == ("lymphocyte_typical", "lymphocyte_atypical")


def test_a_split_of_coarse_labels_does_not_fit_others(tmp_path):
    root = images(tmp_path / "cells", "A", "B", each=8)
    coarse = read_map(write(tmp_path, '[folders]\nA="basophil"\nB="neutrophil"'))
    cells = load_cells(coarse, root, Preprocessing(8), quiet=True)
    write_split(tmp_path / "split.json", split_cells(cells, fold=0), cells)
    assert read_split(tmp_path / "split.json", cells).fold == 0
    renamed = load_cells(
        read_map(write(tmp_path, '[folders]\nA="basophil"\nB="lymphocyte"')), root, Preprocessing(8), quiet=True
    )
    assert renamed.labels.tolist() == cells.labels.tolist()
    assert renamed.fingerprint != cells.fingerprint
    with pytest.raises(DataError, match="labels have changed"):
        read_split(tmp_path / "split.json", renamed)
    few = replace(cells, labels=np.array([0] * 15 + [1]))
    with pytest.raises(DataError, match="class neutrophil has only 1"):
        split_cells(few, fold=0)


def test_a_name_is_the_same_however_its_letters_are_composed(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "Stäbe") for form in ("NFC", "NFD"))
    root = images(tmp_path / "cells", decomposed)
    mapped = read_map(write(tmp_path, f'[folders]\n"{composed}"="neutrophil_banded"'))
    assert len(list_images(mapped, root).paths) == 1
    with pytest.raises(DataError, match="stands twice"):
        read_map(write(tmp_path, f'[folders]\n"{composed}"="monocyte"\n"{decomposed}"="monocyte"'))


def test_folders_that_the_map_forgets_or_that_are_empty(tmp_path):
    root = images(tmp_path / "cells", "N", "Unbekannt", "Rest")
    (root / "M").mkdir()
    path = write(tmp_path, '[folders]\nN="neutrophil"\nRest="ignore"\nM="monocyte"\nleer="ignore"')
    (root / "leer").mkdir()
    with pytest.raises(DataError, match=r"map\.toml does not mention its folder Unbekannt\. Give each a class under"):
        list_images(read_map(path), root)
    with pytest.raises(DataError, match="no images in the class folder M;"):
        list_images(read_map(path), root, unmatched="skip")
    found = check_folder(root, read_map(path), quiet=True)
    assert found.empty == ("M",)
    assert found.unmatched == ("Unbekannt/0.png",)
    assert dict(found.counts) == {"N": 1, "Rest": 1, "M": 0, "leer": 0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"maps no folder; it needs \[folders\]"),
        ("[folders]", "maps no folder"),
        ("[folders]\nA = basophil", r"no valid TOML: .*line 2"),
        ("[folders]\nOld cells = 'basophil'", r"no valid TOML: .*line 2"),
        ("[folders]\nA='basophil'\nA='monocyte'", "no valid TOML"),
        ("folders = 3", r"folders is no table; write \[folders\]"),
        ("A = 'basophil'", r"A means nothing here; a map has \[folders\] and \[classes\]"),
        ("[folders]\nA='Neutrophils'", "A: no class is called 'Neutrophils', did you mean 'neutrophil'\\?"),
        ("[folders]\nA='smudge cell'", "did you mean 'smudge_cell'\\?"),
        ("[folders]\nA='xyz'", r"no class is called 'xyz'\. There are basophil, .*smudge_cell, immature_granulocyte"),
        ("[folders]\nA=1", "A: not the name of a class"),
        ("[folders]\nAML.old='basophil'", 'AML: not the name of a class; .*quotes: "AML.x" = "class"'),
        ("[folders]\n'a/b'='basophil'", "'a/b': not a name of a folder that lies directly"),
        ("[folders]\n''='basophil'", "'': not a name of a folder"),
        ("[folders]\nA='ignore'\nB='ignore'", "every folder is ignored"),
        ("[folders]\nA='neutrophil'\nB='neutrophil_banded'", "neutrophil_banded belongs to two classes, neutrophil"),
        (
            "[folders]\nA='x'\nB='y'\n[classes]\nx=['myelocyte','basophil']\ny=['basophil']",
            "basophil belongs to two classes, x and y",
        ),
        ("[folders]\nA='x'\n[classes]\nx=[]", r"\[classes\] x: must list the classes"),
        ("[folders]\nA='x'\n[classes]\nx='basophil'", "x: must list the classes"),
        ("[folders]\nA='x'\n[classes]\nx=[1]", "x: must list the classes"),
        (
            "[folders]\nA='x'\n[classes]\nx=['neutrophil']",
            "x: no class is called 'neutrophil', did you mean 'neutrophil_",
        ),
        ("[folders]\nA='x'\n[classes]\nx=['basophil','basophil']", "x: names a class twice"),
        ("[folders]\nA='other'\n[classes]\nother=['basophil']", "other: no class can be called so"),
        ("[folders]\nA='a b'\n[classes]\n'a b'=['basophil']", "a b: no class can be called so"),
        (
            "[folders]\nA='neutrophil'\n[classes]\nneutrophil=['neutrophil_banded']",
            "neutrophil: that name means neutrophil_banded, neutrophil_segmented everywhere",
        ),
        ("[folders]\nA='basophil'\n[classes]\nbasophil=['monocyte']", "basophil: that name means basophil everywhere"),
    ],
)
def test_maps_that_cannot_be_meant(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(DataError, match=message) as caught:
        read_map(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_files_that_are_no_map(tmp_path):
    with pytest.raises(DataError, match="no such file; --map needs a TOML file"):
        read_map(tmp_path / "none.toml")
    with pytest.raises(DataError, match="cannot be read"):
        read_map(tmp_path)
    (tmp_path / "map.toml").write_bytes("[folders]\n\"Stäbe\"='monocyte'".encode("latin-1"))
    with pytest.raises(DataError, match="no text in UTF-8"):
        read_map(tmp_path / "map.toml")
    (tmp_path / "map.toml").write_bytes(b"\xef\xbb\xbf[folders]\r\nA='monocyte'\r\n")
    assert dict(read_map(tmp_path / "map.toml").labels) == {"A": "monocyte"}


@given(st.binary(max_size=60) | st.text(alphabet="[]folders classes='\"\n=,ABx", max_size=60).map(str.encode))
def test_whatever_the_file_holds_is_a_map_or_is_refused(tmp_path_factory, raw):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(raw)
    with suppress(DataError):  # anything else is a bug
        mapped = read_map(path)
        assert set(mapped.labels.values()) - {None} <= set(mapped.comprises)
