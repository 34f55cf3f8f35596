"""Which patient, or slide, each image is of, so that no patient's cells lie on both sides of a split."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from leukonca.data.cells import Cells
from leukonca.data.listing import named
from leukonca.errors import DataError, UsageError

FOLDERS = "folders"
"""Asks for the folders beneath those of the classes."""

COLUMNS = ("path", "patient")
"""That a table of patients needs; others may stand beside."""

_EXAMPLE = 'a first line "path,patient", then one line for each image, its path as in predictions.csv'


@dataclass(frozen=True)
class Patients:
    """Where the patients of a center's images are told.

    Args:
        source: `FOLDERS`, or the file that was read.
        table: path of an image -> its patient; empty where folders tell.
    """

    source: str
    table: Mapping[str, str] = field(default_factory=dict)


def find_patients(source: str, center: str) -> Patients:
    """What the option ``--patients`` names, read and checked before any image is.

    Args:
        source: ``folders``: the folder directly beneath the class's, as in ``monocyte/patient 7/3.png``; the same
            name under two classes is the same patient. Otherwise a CSV file with the columns ``path``, relative to
            the center's folder, and ``patient``; commas, semicolons or tabs between them.
        center: whose images they are.

    Raises:
        DataError: the file is missing or no such table, or an image has no patient or two.
        UsageError: folders of a center whose paths mean something else.
    """
    if source != FOLDERS:
        return Patients(source, _table(Path(source)))
    if center != "folder":
        raise UsageError(
            f"--patients {FOLDERS}: the folders of {center} do not tell the patient; "
            f"give a CSV file with the columns {' and '.join(COLUMNS)}"
        )
    return Patients(source)


def with_patients(cells: Cells, patients: Patients) -> Cells:
    """The same cells, which know their patients.

    Args:
        cells: of one center.
        patients: a table may name images that the center does not hold.

    Raises:
        DataError: an image has no patient.
    """
    return replace(cells, patients=_of_folders(cells) if patients.source == FOLDERS else _of_table(cells, patients))


def _of_folders(cells: Cells) -> tuple[str, ...]:
    direct = [path for path in cells.paths if path.count("/") < 2]
    if direct:
        raise DataError(
            f"{len(direct)} images lie directly in the folder of their class, so nobody knows their patient "
            f"({named(direct)}); put each into a folder of its patient (monocyte/patient 7/3.png), or give --patients "
            "a CSV file"
        )
    return tuple(path.split("/")[1] for path in cells.paths)


def _of_table(cells: Cells, patients: Patients) -> tuple[str, ...]:
    missing = [image for image in cells.paths if image not in patients.table]
    if missing:
        raise DataError(
            f"{patients.source}: names no patient for {len(missing):,} of {len(cells):,} images ({named(missing)}); "
            "paths are relative to the center's folder, with forward slashes"
        )
    return tuple(patients.table[image] for image in cells.paths)


def _table(path: Path) -> dict[str, str]:
    patient_of: dict[str, str] = {}
    for line, (image, patient) in enumerate(_read(path), start=2):
        if image and not patient:
            raise DataError(f"{path}: line {line}: {image} has no patient; name one, or take the image out")
        if patient_of.setdefault(image, patient) != patient:
            raise DataError(f"{path}: line {line}: {image} is of {patient_of[image]} and of {patient}; keep one")
    return patient_of


def _read(path: Path) -> list[tuple[str, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; --patients needs '{FOLDERS}' or a CSV file with {_EXAMPLE}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: no text in UTF-8 ({error.reason}); save it as CSV in UTF-8") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); --patients needs a CSV file") from error
    head = text.partition("\n")[0]
    between = next(
        (mark for mark in ",;\t" if set(COLUMNS) <= set(_names(head.split(mark)))), ";" if ";" in head else ","
    )
    try:
        rows = list(csv.reader(text.splitlines(), delimiter=between, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}: no valid CSV ({error}); it needs {_EXAMPLE}") from error
    places = _places(path, _names(rows[0]) if rows else [])
    short = next((line for line, row in enumerate(rows[1:], start=2) if row and len(row) <= max(places)), None)
    if short is not None:
        raise DataError(f"{path}: line {short} has fewer columns than the first line; it needs {_EXAMPLE}")
    return [_entry(row[places[0]], row[places[1]]) if row else ("", "") for row in rows[1:]]


def _names(cells: Sequence[str]) -> list[str]:
    return [cell.strip().strip('"').lower() for cell in cells]


def _entry(image: str, patient: str) -> tuple[str, str]:
    image = image.strip().replace("\\", "/").removeprefix("./")
    return (image, patient.strip()) if image else ("", "")


def _places(path: Path, head: Sequence[str]) -> tuple[int, int]:
    absent = [name for name in COLUMNS if name not in head]
    if absent:
        raise DataError(f"{path}: has no column {' and '.join(absent)}; it needs {_EXAMPLE}")
    return head.index(COLUMNS[0]), head.index(COLUMNS[1])
