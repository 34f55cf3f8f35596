import pytest

import leukonca
from leukonca.data.centers import ACEVEDO20, CENTERS, MATEK19, MLL23, Center
from leukonca.taxonomy import ACEVEDO20_LABELS, CLASSES, COARSE_CLASSES, MATEK19_LABELS, MLL23_LABELS

# Section 2 of the project's reference page, as it stands there.
REFERENCE = """
| 0 | basophil | BAS | BA | basophil |
| 1 | eosinophil | EOS | EO | eosinophil |
| 2 | erythroblast | EBO | ERB | normoblast |
| 3 | myeloblast | MYO | - | myeloblast |
| 4 | promyelocyte | PMO | PMY | promyelocyte |
| 5 | myelocyte | MYB | MY | myelocyte |
| 6 | metamyelocyte | MMZ | MMY | metamyelocyte |
| 7 | neutrophil_banded | NGB | BNE | neutrophil_band |
| 8 | neutrophil_segmented | NGS | SNE | neutrophil_segmented |
| 9 | monocyte | MON, MOB | MO | monocyte |
| 10 | lymphocyte_typical | LYT | LY | lymphocyte |
| 11 | lymphocyte_atypical | LYA | - | lymphocyte_reactive, lymphocyte_neoplastic |
| 12 | smudge_cell | KSC | - | smudge_cell |
| dropped | | PMB | IG, NEUTROPHIL, PLATELET | lymphocyte_large_granular, plasma_cell, hairy_cell, \
promyelocyte_atypical |
"""

COUNTS = {
    "matek19": """NGS 8484, LYT 3937, MYO 3268, MON 1789, EOS 424, NGB 109, BAS 79, EBO 78, PMO 70, MYB 42, MOB 26,
        PMB 18, MMZ 15, KSC 15, LYA 11""",
    "acevedo20": """BA 1218, EO 3117, ERB 1551, LY 1214, MO 1420, SNE 1646, BNE 1633, MMY 1015, MY 1137, PMY 592,
        IG 151, NEUTROPHIL 50, PLATELET 2348""",
    "mll23": """myeloblast 8606, neutrophil_segmented 7170, lymphocyte 5532, hairy_cell 3265, monocyte 2510,
        eosinophil 2448, normoblast 2071, promyelocyte_atypical 2033, lymphocyte_large_granular 1849, plasma_cell 1658,
        smudge_cell 988, myelocyte 747, promyelocyte 745, neutrophil_band 687, basophil 616, metamyelocyte 483,
        lymphocyte_neoplastic 180, lymphocyte_reactive 33""",
}

# Images, labels, images in the 13 classes, classes, share of the largest class in %.
TOTALS = {
    "matek19": (18_365, 15, 18_347, 13, 46.2),
    "acevedo20": (17_092, 13, 14_543, 10, 21.4),
    "mll23": (41_621, 18, 32_816, 13, 26.2),
}

COLUMNS = {"matek19": (2, MATEK19), "acevedo20": (3, ACEVEDO20), "mll23": (4, MLL23)}


def counts(center: str) -> dict[str, int]:
    pairs = (entry.split() for entry in COUNTS[center].split(","))
    return {label: int(number) for label, number in pairs}


def labels(row: list[str], column: int) -> list[str]:
    return [label.strip() for label in row[column].split(",") if label.strip() != "-"]


def rows() -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in REFERENCE.strip().splitlines()]


def test_classes_are_the_reference_ones_in_order():
    ids = [(int(row[0]), row[1]) for row in rows() if row[0] != "dropped"]
    assert ids == list(enumerate(CLASSES))
    assert leukonca.CLASSES is CLASSES


def test_every_label_of_every_center_maps_as_in_the_reference():
    for column, table in ((2, MATEK19_LABELS), (3, ACEVEDO20_LABELS), (4, MLL23_LABELS)):
        wanted = {
            label.strip(): row[1] or None for row in rows() for label in row[column].split(",") if label.strip() != "-"
        }
        assert dict(table) == wanted


def cases() -> list[tuple[Center, int, list[str]]]:
    return [(center, column, row) for column, center in COLUMNS.values() for row in rows()]


@pytest.mark.parametrize(("center", "column", "row"), cases())
def test_every_row_holds_in_every_center_counts_included(center, column, row):
    published = counts(center.name)
    own = labels(row, column)
    if row[0] == "dropped":
        assert own == [label for label, kept in center.labels.items() if kept is None]
        assert all(center.expected[label] == published[label] for label in own)
        return
    name = CLASSES[int(row[0])]
    assert own == [label for label, kept in center.labels.items() if kept == name]
    assert [center.expected[label] for label in own] == [published[label] for label in own]
    assert center.expected_classes.get(name, 0) == sum(published[label] for label in own)


@pytest.mark.parametrize("name", TOTALS)
def test_totals_are_the_published_ones(name):
    center, published = CENTERS[name], counts(name)
    images, own_labels, kept, classes, largest = TOTALS[name]
    assert dict(center.expected) == published
    assert set(center.labels) == set(published)
    assert (sum(published.values()), len(published)) == (images, own_labels)
    column, _ = COLUMNS[name]
    dropped = labels(next(row for row in rows() if row[0] == "dropped"), column)
    assert kept == images - sum(published[label] for label in dropped)
    assert sum(center.expected_classes.values()) == kept
    assert len(center.expected_classes) == len(center.classes) == classes
    assert round(100 * max(center.expected_classes.values()) / kept, 1) == largest


def test_what_acevedo20_has_seen_of_the_other_centers():
    seen = set(ACEVEDO20.classes)
    for center, ceiling in ((MATEK19, 82.0), (MLL23, 70.1)):
        known = sum(number for name, number in center.expected_classes.items() if name in seen)
        assert round(100 * known / sum(center.expected_classes.values()), 1) == ceiling


def test_coarser_names_comprise_whole_classes_and_no_class_is_in_two():
    finer = [name for names in COARSE_CLASSES.values() for name in names]
    assert len(set(finer)) == len(finer)
    assert set(finer) < set(CLASSES)
    assert not set(COARSE_CLASSES) & set(CLASSES)
    assert COARSE_CLASSES["neutrophil"] == ("neutrophil_banded", "neutrophil_segmented")
