"""The 13 harmonised classes of white blood cells, and what each center calls them.

Source: Deutges et al. 2024 (arXiv 2404.05584), table of harmonised labels; Acevedo et al. 2020
(doi 10.17632/snkd93bnjr.1); Matek et al. 2019 (doi 10.7937/tcia.2019.36f5o9ld); MLL23 (Zenodo 14277609).
"""

from collections.abc import Mapping
from types import MappingProxyType

CLASSES: tuple[str, ...] = (
    "basophil",
    "eosinophil",
    "erythroblast",
    "myeloblast",
    "promyelocyte",
    "myelocyte",
    "metamyelocyte",
    "neutrophil_banded",
    "neutrophil_segmented",
    "monocyte",
    "lymphocyte_typical",
    "lymphocyte_atypical",
    "smudge_cell",
)
"""Class names; the position is the class id."""

Comprises = Mapping[str, tuple[str, ...]]
"""The names of some labels, in their order, and which classes each of them comprises: itself where it is as fine."""

EACH_ITSELF: Comprises = MappingProxyType({name: (name,) for name in CLASSES})
"""Labels as fine as the 13 classes."""

COARSE_CLASSES: Comprises = MappingProxyType(
    {
        "immature_granulocyte": ("promyelocyte", "myelocyte", "metamyelocyte"),
        "neutrophil": ("neutrophil_banded", "neutrophil_segmented"),
        "lymphocyte": ("lymphocyte_typical", "lymphocyte_atypical"),
    }
)
"""Coarser names that the field agrees on, and the classes that each comprises."""

OTHER = "other"
"""All classes together that a coarser scoring has no name for; an answer that is always wrong."""

DROPPED = None
"""What a center's label maps to when it has no place among the 13 classes."""


def _table(kept: Mapping[str, str], dropped: tuple[str, ...] = ()) -> Mapping[str, str | None]:
    return MappingProxyType({**kept, **dict.fromkeys(dropped, DROPPED)})


BLOODMNIST_CLASSES: Comprises = MappingProxyType(
    {
        "basophil": ("basophil",),
        "eosinophil": ("eosinophil",),
        "erythroblast": ("erythroblast",),
        "immature_granulocyte": COARSE_CLASSES["immature_granulocyte"],
        "lymphocyte": COARSE_CLASSES["lymphocyte"],
        "monocyte": ("monocyte",),
        "neutrophil": COARSE_CLASSES["neutrophil"],
        "platelet": ("platelet",),
    }
)
"""The classes of BloodMNIST in MedMNIST's order: coarser than the 13, and with platelets beyond them."""

MATEK19_LABELS = _table(
    {
        "BAS": "basophil",
        "EOS": "eosinophil",
        "EBO": "erythroblast",
        "MYO": "myeloblast",
        "PMO": "promyelocyte",
        "MYB": "myelocyte",
        "MMZ": "metamyelocyte",
        "NGB": "neutrophil_banded",
        "NGS": "neutrophil_segmented",
        "MON": "monocyte",
        "MOB": "monocyte",
        "LYT": "lymphocyte_typical",
        "LYA": "lymphocyte_atypical",
        "KSC": "smudge_cell",
    },
    dropped=("PMB",),
)
"""Matek-19: folder name -> class."""

ACEVEDO20_LABELS = _table(
    {
        "BA": "basophil",
        "EO": "eosinophil",
        "ERB": "erythroblast",
        "PMY": "promyelocyte",
        "MY": "myelocyte",
        "MMY": "metamyelocyte",
        "BNE": "neutrophil_banded",
        "SNE": "neutrophil_segmented",
        "MO": "monocyte",
        "LY": "lymphocyte_typical",
    },
    dropped=("IG", "NEUTROPHIL", "PLATELET"),
)
"""Acevedo-20: file prefix -> class (its folders are coarser than its labels)."""

MLL23_LABELS = _table(
    {
        "basophil": "basophil",
        "eosinophil": "eosinophil",
        "normoblast": "erythroblast",
        "myeloblast": "myeloblast",
        "promyelocyte": "promyelocyte",
        "myelocyte": "myelocyte",
        "metamyelocyte": "metamyelocyte",
        "neutrophil_band": "neutrophil_banded",
        "neutrophil_segmented": "neutrophil_segmented",
        "monocyte": "monocyte",
        "lymphocyte": "lymphocyte_typical",
        "lymphocyte_reactive": "lymphocyte_atypical",
        "lymphocyte_neoplastic": "lymphocyte_atypical",
        "smudge_cell": "smudge_cell",
    },
    dropped=("lymphocyte_large_granular", "plasma_cell", "hairy_cell", "promyelocyte_atypical"),
)
"""MLL23 (the paper's in-house INT-20): folder name -> class."""

BLOODMNIST_LABELS = _table(
    {name.replace("immature_granulocyte", "immature granulocytes"): name for name in BLOODMNIST_CLASSES}
)
"""BloodMNIST: MedMNIST's name of a label, in the order of its numbers -> class."""
