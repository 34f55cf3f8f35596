import leukonca
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


def test_coarser_names_comprise_whole_classes_and_no_class_is_in_two():
    finer = [name for names in COARSE_CLASSES.values() for name in names]
    assert len(set(finer)) == len(finer)
    assert set(finer) < set(CLASSES)
    assert not set(COARSE_CLASSES) & set(CLASSES)
    assert COARSE_CLASSES["neutrophil"] == ("neutrophil_banded", "neutrophil_segmented")
