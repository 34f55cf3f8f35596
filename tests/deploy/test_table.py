import csv
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leukonca.deploy.predictor import Predictions
from leukonca.deploy.table import Table, differential_count
from leukonca.files import as_text

CLASSES = ("one", "two", "three")
NAMES = st.text(st.characters(exclude_categories=()), min_size=1)


def predictions() -> Predictions:
    row = np.array([[0.1234564, 0.8765436, 0.0]], np.float32)
    return Predictions(row, np.array([0.25], np.float32), ("two",), ("",), CLASSES)


def read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_columns_and_numbers(tmp_path: Path) -> None:
    with (tmp_path / "t.csv").open("w", encoding="utf-8", newline="") as file:
        table = Table(file, CLASSES)
        table.add("a.png", predictions())
        table.add_error("b.png", "the file is empty")
    assert (tmp_path / "t.csv").read_bytes() == (
        b"path,label,probability,uncertainty,flag,error,one,two,three\n"
        b"a.png,two,0.876544,0.250000,,,0.123456,0.876544,0.000000\n"
        b"b.png,,,,,the file is empty,,,\n"
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(NAMES, min_size=1, max_size=4), reason=NAMES)
def test_any_name_survives_in_valid_utf8(names: list[str], reason: str, tmp_path: Path) -> None:
    with (tmp_path / "t.csv").open("w", encoding="utf-8", newline="") as file:
        table = Table(file, CLASSES)
        for name in names:
            table.add(name, predictions())
            table.add_error(name, reason)
    rows = read(tmp_path / "t.csv")[1:]
    assert [row[0] for row in rows] == [as_text(name) for name in names for _ in "ab"]
    assert [row[5] for row in rows] == ["", as_text(reason)] * len(names)
    assert {len(row) for row in rows} == {9}


def test_the_differential_count_adds_up() -> None:
    assert differential_count({"basophil": 1, "monocyte": 2, "smudge_cell": 0}) == (
        "class              n      %\n"
        "basophil           1   33.3\n"
        "monocyte           2   66.7\n"
        "smudge_cell        0    0.0\n"
        "total              3"
    )
    assert differential_count({"basophil": 0}).splitlines()[1] == "basophil        0    0.0"
