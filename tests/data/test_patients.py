from pathlib import Path

import numpy as np
import pytest

from leukonca.data.cells import Cells
from leukonca.data.patients import find_patients, with_patients
from leukonca.data.preprocessing import Preprocessing
from leukonca.errors import DataError, UsageError


def cells_at(*paths: str, center: str = "folder") -> Cells:
    return Cells(
        center=center,
        paths=paths,
        labels=np.zeros(len(paths), np.int64),
        images=np.zeros((len(paths), 2, 2, 3), np.uint8),
        groups=np.arange(len(paths)),
        preprocessing=Preprocessing(2),
        image_um=None,
        fingerprint="0" * 64,
        digests=("0" * 64,) * len(paths),
    )


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "patients.csv"


TWO = cells_at("monocyte/a.png", "smudge_cell/b.png")


def test_folders_beneath_the_classes_are_patients() -> None:
    cells = cells_at("basophil/P1/a.png", "monocyte/P1/b.png", "monocyte/P2/day 2/c.png")
    assert with_patients(cells, find_patients("folders", "folder")).patients == ("P1", "P1", "P2")
    assert cells.patients == ()


def test_images_without_a_folder_of_their_own_are_named() -> None:
    with pytest.raises(DataError, match=r"1 images lie directly .*\(monocyte/b\.png\)"):
        with_patients(cells_at("basophil/P1/a.png", "monocyte/b.png"), find_patients("folders", "folder"))
    with pytest.raises(UsageError, match="the folders of mll23 do not tell the patient"):
        find_patients("folders", "mll23")


@pytest.mark.parametrize(
    "text",
    [
        "path,patient\nmonocyte/a.png,7\nsmudge_cell/b.png,8\n",
        "\ufeffPatient;Age;Path\r\n7;40;monocyte\\a.png\r\n8;41;./smudge_cell/b.png\r\n",
        "path\tpatient\tname\nmonocyte/a.png\t7\tA; B, C\nsmudge_cell/b.png\t8\t\n",
        '"path";"patient";"seen\tby"\nmonocyte/a.png;7;x\nsmudge_cell/b.png;8;y\n',
        'path,patient\n\nelsewhere/c.png,9\n"monocyte/a.png", 7\nmonocyte/a.png,7\nsmudge_cell/b.png,8',
    ],
)
def test_a_table_names_the_patients(table: Path, text: str) -> None:
    table.write_text(text, encoding="utf-8", newline="")
    assert with_patients(TWO, find_patients(str(table), "folder")).patients == ("7", "8")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column path and patient"),
        ("path,name\nmonocyte/a.png,7\n", "has no column patient"),
        ("path,patient\nmonocyte/a.png,7\n", r"no patient for 1 of 2 images \(smudge_cell/b\.png\)"),
        ("path,patient\nmonocyte/a.png,\n", "line 2: monocyte/a.png has no patient"),
        ("path,patient\nmonocyte/a.png,7\nmonocyte/a.png,8\n", "line 3: monocyte/a.png is of 7 and of 8"),
        ("path,patient\nmonocyte/a.png\n", "line 2 has fewer columns"),
        ('path,patient\n"monocyte/a.png,7\n', "no valid CSV"),
    ],
)
def test_a_table_that_says_too_little_is_refused(table: Path, text: str, message: str) -> None:
    table.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        with_patients(TWO, find_patients(str(table), "folder"))


def test_a_table_that_cannot_be_read_is_refused(table: Path) -> None:
    with pytest.raises(DataError, match="no such file; --patients needs 'folders' or a CSV file"):
        with_patients(TWO, find_patients(str(table), "folder"))
    table.write_bytes(b"path,patient\nmonocyte/a.png,M\xfcller\n")
    with pytest.raises(DataError, match="no text in UTF-8"):
        with_patients(TWO, find_patients(str(table), "folder"))
