import csv
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leukonca import taxonomy
from leukonca.deploy.predictor import Predictions
from leukonca.deploy.table import Table, differential_count
from leukonca.files import as_text

CLASSES = ("one", "two", "three")
NAMES = st.text(st.characters(exclude_categories=()), min_size=1)


def predictions() -> Predictions:
    row = np.array([[0.1234564, 0.8765436, 0.0]], np.float32)
    quarter, none = np.array([0.25], np.float32), np.zeros(1, np.float32)
    return Predictions(row, quarter, quarter, none, ("two",), ("",), CLASSES, none, np.zeros(1, np.bool_))


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


def test_the_count_is_of_leukocytes_and_the_others_are_per_hundred_of_them() -> None:
    counts = {"basophil": 2, "erythroblast": 12, "monocyte": 6, "lymphocyte_typical": 0, "smudge_cell": 4}
    assert differential_count(counts, {"monocyte": 1, "erythroblast": 5}) == (
        "Differential count of the model's predictions; no person has looked at the cells.\n"
        "leukocytes                n        %  uncertain\n"
        "basophil                  2     25.0          0\n"
        "monocyte                  6     75.0          1\n"
        "lymphocyte_typical        0      0.0          0\n"
        "all leukocytes            8    100.0          1\n"
        "\n"
        "beside leukocytes         n  per 100  uncertain\n"
        "erythroblast             12    150.0          5\n"
        "smudge_cell               4     50.0          0"
    )


def test_unusual_cells_are_counted_beside_the_uncertain_ones() -> None:
    counts = {"basophil": 2, "monocyte": 6, "erythroblast": 3}
    lines = differential_count(counts, {"monocyte": 1}, {"basophil": 2, "erythroblast": 1}).splitlines()[1:]
    assert [line.split() for line in lines if line] == [
        ["leukocytes", "n", "%", "uncertain", "unusual"],
        ["basophil", "2", "25.0", "0", "2"],
        ["monocyte", "6", "75.0", "1", "0"],
        ["all", "leukocytes", "8", "100.0", "1", "2"],
        ["beside", "leukocytes", "n", "per", "100", "uncertain", "unusual"],
        ["erythroblast", "3", "37.5", "0", "1"],
    ]


def test_platelets_are_no_leukocytes() -> None:
    among, beside = differential_count({"neutrophil": 4, "platelet": 2}, {}).split("\n\n")
    assert among.splitlines()[-1].split()[-3:] == ["4", "100.0", "0"]
    assert beside.splitlines()[1].split() == ["platelet", "2", "50.0", "0"]


def test_classes_of_other_names_are_leukocytes() -> None:
    rows = [line.split() for line in differential_count({"one": 1, "two": 3}, {"two": 2}).splitlines()[1:]]
    assert rows == [
        ["leukocytes", "n", "%", "uncertain"],
        ["one", "1", "25.0", "0"],
        ["two", "3", "75.0", "2"],
        ["all", "leukocytes", "4", "100.0", "2"],
    ]


def test_without_leukocytes_there_is_no_share() -> None:
    rows = [line.split() for line in differential_count({"basophil": 0, "erythroblast": 3}, {}).splitlines()]
    assert ["basophil", "0", "-", "0"] in rows
    assert ["all", "leukocytes", "0", "-", "0"] in rows
    assert ["erythroblast", "3", "-", "0"] in rows


COUNTS = st.fixed_dictionaries({name: st.integers(0, 10**6) for name in taxonomy.CLASSES})


@settings(max_examples=40, deadline=None)
@given(COUNTS)
def test_the_shares_add_up(counts: dict[str, int]) -> None:
    among, beside = differential_count(counts, {}).split("\n\n")
    shares = [float(line.split()[2]) for line in among.splitlines()[2:-1] if line.split()[2] != "-"]
    assert {line.split()[0] for line in beside.splitlines()[1:]} == {"erythroblast", "smudge_cell"}
    assert len(shares) in (0, 11)
    if shares:
        assert abs(sum(shares) - 100) < 0.051 * 11
    assert int(among.split()[-3]) == sum(counts.values()) - counts["erythroblast"] - counts["smudge_cell"]


def test_a_kind_that_was_never_taught_is_not_counted_as_none() -> None:
    counts = {"monocyte": 3, "myeloblast": 0, "lymphocyte_atypical": 1, "smudge_cell": 0}
    text = differential_count(counts, {}, {}, untaught={"myeloblast", "lymphocyte_atypical", "smudge_cell"})
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line}
    assert rows["myeloblast"] == rows["smudge_cell"] == ["not", "taught"]
    assert rows["lymphocyte_atypical"] == ["1", "25.0", "0", "0"]
    assert rows["monocyte"] == ["3", "75.0", "0", "0"]
    assert {len(line) for line in text.splitlines() if line.endswith("not taught")} == {19 + 2 + 16}
