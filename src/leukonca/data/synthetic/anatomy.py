"""What each class of the SYNTHETIC cells looks like, in numbers: sizes, nucleus, cytoplasm, granules.

The numbers are drawn after common descriptions of Romanowsky-stained smears and after looking at public images; no
image and no fitted statistic goes into them. Neighbors in maturation overlap on purpose.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Nucleus = Literal["round", "kidney", "band", "lobes", "smear"]

Span = tuple[float, float]
"""A property at the early and at the late end of a class; each cell lies somewhere between, with some scatter."""


@dataclass(frozen=True)
class Granules:
    """Granules of one kind, as dye amounts.

    Args:
        azure: amount of violet dye in a granule.
        eosin: amount of orange-pink dye in a granule.
        size_um: typical width of a granule, um.
        cover: share of the area under granules, early and late.
        over_nucleus: whether they also hide the nucleus.
    """

    azure: float
    eosin: float
    size_um: float
    cover: Span
    over_nucleus: float = 0.0


@dataclass(frozen=True)
class Anatomy:
    """One class of cells; pairs are its early and its late end.

    Args:
        diameter_um: of the whole cell, um.
        nuclei: kinds of nucleus and how often each comes.
        nucleus_share: diameter of a round or kidney-shaped nucleus by that of the cell.
        notch: depth of a kidney's notch by the nucleus' radius.
        lobes: fewest and most lobes of a lobed nucleus.
        chromatin: amount of violet dye in the nucleus; 1 is a dark nucleus.
        clumps_um: width of chromatin clumps, um.
        contrast: how strongly the clumps stand out.
        nucleoli: fewest and most.
        blue: amount of blue dye in the cytoplasm (its RNA).
        eosin: amount of pink dye in the cytoplasm.
        rim: how much bluer the cytoplasm's edge is.
        granules: see `Granules`.
        vacuoles: most clear bubbles in the cytoplasm.
        roughness_um: unevenness of the outline, um.
        elongation: largest relative difference of the axes.
        eccentric: how far from the middle a round nucleus may lie (1: touching the outline).
        dented: whether neighboring red cells dent the outline.
    """

    diameter_um: Span
    nuclei: tuple[tuple[Nucleus, float], ...]
    nucleus_share: Span = (0.7, 0.6)
    notch: Span = (0.0, 0.0)
    lobes: tuple[int, int] = (3, 5)
    chromatin: Span = (0.9, 1.0)
    clumps_um: float = 0.7
    contrast: float = 0.25
    nucleoli: tuple[int, int] = (0, 0)
    blue: Span = (0.2, 0.2)
    eosin: Span = (0.15, 0.15)
    rim: float = 0.0
    granules: tuple[Granules, ...] = ()
    vacuoles: int = 0
    roughness_um: float = 0.25
    elongation: float = 0.15
    eccentric: float = 0.6
    dented: bool = False


_NEUTROPHIL_GRANULES = Granules(azure=0.09, eosin=0.17, size_um=0.35, cover=(0.5, 0.5))
_AZUROPHIL_GRANULES = Granules(azure=0.65, eosin=0.1, size_um=0.4, cover=(0.3, 0.45), over_nucleus=0.35)

ANATOMY: Mapping[str, Anatomy] = MappingProxyType(
    {
        "basophil": Anatomy(
            diameter_um=(10.5, 13.0),
            nuclei=(("lobes", 0.6), ("kidney", 0.4)),
            lobes=(2, 3),
            nucleus_share=(0.75, 0.65),
            notch=(0.3, 0.6),
            chromatin=(0.6, 0.85),
            contrast=0.2,
            blue=(0.1, 0.2),
            eosin=(0.1, 0.25),
            granules=(Granules(azure=0.85, eosin=0.0, size_um=0.55, cover=(0.35, 0.6), over_nucleus=0.75),),
        ),
        "eosinophil": Anatomy(
            diameter_um=(12.0, 14.5),
            nuclei=(("lobes", 0.85), ("band", 0.15)),
            lobes=(2, 3),
            chromatin=(0.8, 1.05),
            blue=(0.2, 0.05),
            eosin=(0.25, 0.35),
            granules=(Granules(azure=0.05, eosin=0.42, size_um=0.55, cover=(0.6, 0.85), over_nucleus=0.1),),
        ),
        "erythroblast": Anatomy(
            diameter_um=(11.5, 8.0),
            nuclei=(("round", 1.0),),
            nucleus_share=(0.72, 0.52),
            chromatin=(1.0, 1.45),
            clumps_um=0.9,
            contrast=0.3,
            blue=(0.75, 0.15),
            eosin=(0.1, 0.5),
            rim=0.25,
            elongation=0.1,
            roughness_um=0.3,
        ),
        "myeloblast": Anatomy(
            diameter_um=(12.5, 16.5),
            nuclei=(("round", 0.8), ("kidney", 0.2)),
            nucleus_share=(0.87, 0.77),
            notch=(0.1, 0.3),
            chromatin=(0.6, 0.75),
            clumps_um=0.35,
            contrast=0.13,
            nucleoli=(1, 4),
            blue=(0.6, 0.4),
            eosin=(0.05, 0.1),
            rim=0.3,
            granules=(Granules(azure=0.4, eosin=0.0, size_um=0.4, cover=(0.0, 0.12)),),
            eccentric=0.8,
        ),
        "promyelocyte": Anatomy(
            diameter_um=(15.0, 18.5),
            nuclei=(("round", 0.85), ("kidney", 0.15)),
            nucleus_share=(0.75, 0.6),
            notch=(0.1, 0.35),
            chromatin=(0.65, 0.8),
            clumps_um=0.5,
            contrast=0.17,
            nucleoli=(0, 2),
            blue=(0.5, 0.3),
            eosin=(0.1, 0.2),
            granules=(_AZUROPHIL_GRANULES,),
            eccentric=0.9,
        ),
        "myelocyte": Anatomy(
            diameter_um=(15.5, 12.5),
            nuclei=(("round", 0.75), ("kidney", 0.25)),
            nucleus_share=(0.7, 0.58),
            notch=(0.1, 0.3),
            chromatin=(0.75, 0.95),
            clumps_um=0.7,
            contrast=0.24,
            blue=(0.38, 0.18),
            eosin=(0.15, 0.25),
            granules=(
                _NEUTROPHIL_GRANULES,
                Granules(azure=0.5, eosin=0.1, size_um=0.4, cover=(0.15, 0.0), over_nucleus=0.2),
            ),
            eccentric=0.9,
        ),
        "metamyelocyte": Anatomy(
            diameter_um=(14.5, 12.5),
            nuclei=(("kidney", 0.9), ("band", 0.1)),
            nucleus_share=(0.68, 0.64),
            notch=(0.3, 0.65),
            chromatin=(0.8, 1.0),
            clumps_um=0.75,
            contrast=0.26,
            blue=(0.25, 0.12),
            eosin=(0.17, 0.25),
            granules=(_NEUTROPHIL_GRANULES,),
            eccentric=0.7,
        ),
        "neutrophil_banded": Anatomy(
            diameter_um=(14.0, 12.0),
            nuclei=(("band", 0.93), ("kidney", 0.07)),
            nucleus_share=(0.65, 0.65),
            notch=(0.6, 0.8),
            chromatin=(0.9, 1.05),
            clumps_um=0.75,
            contrast=0.27,
            blue=(0.13, 0.06),
            eosin=(0.17, 0.27),
            granules=(_NEUTROPHIL_GRANULES,),
        ),
        "neutrophil_segmented": Anatomy(
            diameter_um=(13.5, 11.5),
            nuclei=(("lobes", 0.96), ("band", 0.04)),
            lobes=(3, 5),
            chromatin=(0.95, 1.15),
            clumps_um=0.75,
            contrast=0.27,
            blue=(0.1, 0.04),
            eosin=(0.17, 0.3),
            granules=(_NEUTROPHIL_GRANULES,),
        ),
        "monocyte": Anatomy(
            diameter_um=(14.5, 18.0),
            nuclei=(("kidney", 0.75), ("band", 0.1), ("round", 0.15)),
            nucleus_share=(0.76, 0.66),
            notch=(0.25, 0.7),
            chromatin=(0.65, 0.8),
            clumps_um=0.55,
            contrast=0.24,
            blue=(0.42, 0.3),
            eosin=(0.1, 0.16),
            granules=(Granules(azure=0.25, eosin=0.1, size_um=0.3, cover=(0.1, 0.35)),),
            vacuoles=5,
            roughness_um=0.6,
            elongation=0.3,
        ),
        "lymphocyte_typical": Anatomy(
            diameter_um=(8.5, 11.5),
            nuclei=(("round", 0.85), ("kidney", 0.15)),
            nucleus_share=(0.92, 0.76),
            notch=(0.1, 0.25),
            chromatin=(1.15, 0.9),
            clumps_um=1.1,
            contrast=0.2,
            blue=(0.55, 0.3),
            eosin=(0.03, 0.08),
            rim=0.15,
            elongation=0.2,
            eccentric=0.8,
        ),
        "lymphocyte_atypical": Anatomy(
            diameter_um=(12.0, 18.0),
            nuclei=(("round", 0.6), ("kidney", 0.4)),
            nucleus_share=(0.72, 0.52),
            notch=(0.1, 0.45),
            chromatin=(0.95, 0.75),
            clumps_um=1.0,
            contrast=0.22,
            nucleoli=(0, 1),
            blue=(0.65, 0.2),
            eosin=(0.04, 0.06),
            rim=0.6,
            granules=(Granules(azure=0.35, eosin=0.1, size_um=0.45, cover=(0.0, 0.03)),),
            vacuoles=1,
            roughness_um=0.9,
            elongation=0.45,
            eccentric=0.9,
            dented=True,
        ),
        "smudge_cell": Anatomy(
            diameter_um=(11.0, 16.0),
            nuclei=(("smear", 1.0),),
            chromatin=(0.75, 0.4),
            clumps_um=0.9,
            contrast=0.22,
            blue=(0.0, 0.0),
            eosin=(0.0, 0.0),
            nucleoli=(0, 1),
            roughness_um=1.2,
            elongation=0.45,
        ),
    }
)
"""Class name -> its synthetic anatomy, for all of `leukonca.CLASSES`."""
