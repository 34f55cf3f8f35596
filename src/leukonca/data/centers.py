"""The centers whose images leukonca reads: where a file's label stands, what it means, what should be there.

To add a center: its labels in `leukonca.taxonomy`, one `Center` below, one line in `CENTERS`.

Sources: Matek et al. 2019 (doi 10.7937/tcia.2019.36f5o9ld); Acevedo et al. 2020 (doi 10.17632/snkd93bnjr.1);
MLL23 (Zenodo record 14277609); BloodMNIST (Zenodo record 10519652).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from types import MappingProxyType

from leukonca.errors import UsageError
from leukonca.taxonomy import (
    ACEVEDO20_LABELS,
    BLOODMNIST_CLASSES,
    BLOODMNIST_LABELS,
    CLASSES,
    EACH_ITSELF,
    MATEK19_LABELS,
    MLL23_LABELS,
    Comprises,
)

Rule = Callable[[PurePosixPath], str]
"""How a path relative to the center's folder gives the center's own label; an empty string: not at all."""


def file_prefix(path: PurePosixPath) -> str:
    """What stands before the first underscore of the file name: ``ig/PMY_123.jpg`` -> ``PMY``."""
    prefix, underscore, _ = path.stem.partition("_")
    return prefix if underscore else ""


def own_folder(path: PurePosixPath) -> str:
    """The folder that holds the file: ``AML/BAS/BAS_0001.tiff`` -> ``BAS``."""
    return path.parent.name


def top_folder(path: PurePosixPath) -> str:
    """The first folder of the path, whatever lies below it: ``basophil/slide 3/7.png`` -> ``basophil``."""
    return path.parts[0] if len(path.parts) > 1 else ""


def after_space(path: PurePosixPath) -> str:
    """What follows the first space of the file name: ``train/00017 immature granulocytes``."""
    return path.name.partition(" ")[2]


@dataclass(frozen=True)
class Center:
    """One source of images, described and not programmed.

    Args:
        name: what it is called on the command line.
        title: one line that says what it holds.
        rule: how a relative path gives the center's own label.
        labels: own label -> class; None: a label that has no place among the classes.
        comprises: the classes that labels are given in, in their order, and which of the model's classes each
            comprises: the 13 themselves, or coarser ones.
        image_um: what an image's shorter side shows, um, in untouched and resized files alike; None: unknown.
        expected: own label -> number of images in the complete data set; empty: anything goes.
        home: own label -> the folder it is published in, where folders are coarser than labels: a file found
            in another one of these folders contradicts itself and gets no label.
        parts: top folder -> part of the official split (train, validation or test); empty: there is none.
        expected_parts: top folder -> number of images in the complete data set.
        in_one_file: images are arrays of a file of MedMNIST's (see `leukonca.data.medmnist`), not files.
        same_cells: name of a center that shows the same cells under other file names; empty: none does.
        licence: terms of use.
        citation: whom to cite, with a DOI.
        source: where to get it.
        map_file: the file that gave the labels, where a user did (see `leukonca.data.mapping`).
    """

    name: str
    title: str
    rule: Rule
    labels: Mapping[str, str | None]
    comprises: Comprises = field(default_factory=lambda: EACH_ITSELF)
    image_um: float | None = None
    expected: Mapping[str, int] = field(default_factory=dict)
    home: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)
    expected_parts: Mapping[str, int] = field(default_factory=dict)
    in_one_file: bool = False
    same_cells: str = ""
    licence: str = ""
    citation: str = ""
    source: str = ""
    map_file: str = ""

    def own_label(self, path: str) -> str | None:
        """The center's own label of a file.

        Args:
            path: relative to the center's folder, with forward slashes.

        Returns:
            A key of `labels`; None where no rule matches.
        """
        pure = PurePosixPath(path)
        label = self.rule(pure)
        if label not in self.labels:
            return None
        folder = pure.parent.name
        if folder in self.home.values() and self.home[label] != folder:
            return None
        return label

    def scale(self, told_um: float | None) -> float | None:
        """What an image's shorter side shows, um: the center's own knowledge before what a user says of it."""
        return self.image_um if self.image_um is not None else told_um

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that its labels can give, in the order of `comprises`."""
        given = set(self.labels.values())
        return tuple(name for name in self.comprises if name in given)

    @property
    def expected_classes(self) -> Mapping[str, int]:
        """Expected number of images per class, in the order of `comprises`; empty where nothing is expected."""
        if not self.expected:
            return {}
        return {
            name: sum(self.expected.get(own, 0) for own, kept in self.labels.items() if kept == name)
            for name in self.classes
        }


ACEVEDO20 = Center(
    name="acevedo20",
    title="Acevedo-20, Barcelona: 17,092 normal blood cells, with platelets, CellaVision DM96, May Gruenwald-Giemsa",
    rule=file_prefix,
    labels=ACEVEDO20_LABELS,
    image_um=36.0,
    expected=MappingProxyType(
        {
            "BA": 1218,
            "EO": 3117,
            "ERB": 1551,
            "LY": 1214,
            "MO": 1420,
            "SNE": 1646,
            "BNE": 1633,
            "MMY": 1015,
            "MY": 1137,
            "PMY": 592,
            "IG": 151,
            "NEUTROPHIL": 50,
            "PLATELET": 2348,
        }
    ),
    home=MappingProxyType(
        {
            "BA": "basophil",
            "EO": "eosinophil",
            "ERB": "erythroblast",
            "LY": "lymphocyte",
            "MO": "monocyte",
            "SNE": "neutrophil",
            "BNE": "neutrophil",
            "NEUTROPHIL": "neutrophil",
            "MMY": "ig",
            "MY": "ig",
            "PMY": "ig",
            "IG": "ig",
            "PLATELET": "platelet",
        }
    ),
    licence="CC BY 4.0",
    citation="Acevedo, Merino, Alférez, Molina, Boldú and Rodellar 2020, A dataset for microscopic peripheral blood "
    "cell images for development of automatic recognition systems, doi 10.17632/snkd93bnjr.1",
    source="Mendeley Data, https://data.mendeley.com/datasets/snkd93bnjr/1, PBC_dataset_normal_DIB.zip",
)

MATEK19 = Center(
    name="matek19",
    title="Matek-19, Munich: 18,365 cells of 100 AML patients and 100 controls, 100x oil immersion",
    rule=own_folder,
    labels=MATEK19_LABELS,
    image_um=29.0,
    expected=MappingProxyType(
        {
            "NGS": 8484,
            "LYT": 3937,
            "MYO": 3268,
            "MON": 1789,
            "EOS": 424,
            "NGB": 109,
            "BAS": 79,
            "EBO": 78,
            "PMO": 70,
            "MYB": 42,
            "MOB": 26,
            "PMB": 18,
            "MMZ": 15,
            "KSC": 15,
            "LYA": 11,
        }
    ),
    licence="CC BY 3.0",
    citation="Matek et al. 2019, doi 10.7937/tcia.2019.36f5o9ld",
    source="The Cancer Imaging Archive, https://doi.org/10.7937/tcia.2019.36f5o9ld (with TCIA's own program)",
)

MLL23 = Center(
    name="mll23",
    title="MLL23, Munich (INT-20 of the paper): 41,621 cells in 18 classes",
    rule=own_folder,
    labels=MLL23_LABELS,
    image_um=25.0,
    expected=MappingProxyType(
        {
            "myeloblast": 8606,
            "neutrophil_segmented": 7170,
            "lymphocyte": 5532,
            "hairy_cell": 3265,
            "monocyte": 2510,
            "eosinophil": 2448,
            "normoblast": 2071,
            "promyelocyte_atypical": 2033,
            "lymphocyte_large_granular": 1849,
            "plasma_cell": 1658,
            "smudge_cell": 988,
            "myelocyte": 747,
            "promyelocyte": 745,
            "neutrophil_band": 687,
            "basophil": 616,
            "metamyelocyte": 483,
            "lymphocyte_neoplastic": 180,
            "lymphocyte_reactive": 33,
        }
    ),
    licence="CC BY 4.0",
    citation="MLL23, Zenodo record 14277609, doi 10.5281/zenodo.14277609",
    source="Zenodo, https://zenodo.org/records/14277609, one zip a class",
)

BLOODMNIST = Center(
    name="bloodmnist",
    title="BloodMNIST: the cells of Acevedo-20 in 8 classes, centre-cropped, with MedMNIST's split",
    rule=after_space,
    labels=BLOODMNIST_LABELS,
    comprises=BLOODMNIST_CLASSES,
    image_um=20.0,  # 200 of 360 pixels
    expected=MappingProxyType(
        {
            "basophil": 1218,
            "eosinophil": 3117,
            "erythroblast": 1551,
            "immature granulocytes": 2895,
            "lymphocyte": 1214,
            "monocyte": 1420,
            "neutrophil": 3329,
            "platelet": 2348,
        }
    ),
    parts=MappingProxyType({"train": "train", "val": "validation", "test": "test"}),
    expected_parts=MappingProxyType({"train": 11_959, "val": 1_712, "test": 3_421}),
    in_one_file=True,
    same_cells="acevedo20",
    licence="CC BY 4.0",
    citation="Yang et al. 2023, MedMNIST v2, doi 10.1038/s41597-022-01721-8; Acevedo et al. 2020",
    source="Zenodo, https://zenodo.org/records/10519652, bloodmnist.npz, bloodmnist_64.npz, _128, _224",
)

FOLDER = Center(
    name="folder",
    title="your own cells: one subfolder a class, named as in leukonca.CLASSES",
    rule=top_folder,
    labels=MappingProxyType({name: name for name in CLASSES}),
    licence="your own",
)

CENTERS: Mapping[str, Center] = MappingProxyType(
    {center.name: center for center in (ACEVEDO20, MATEK19, MLL23, BLOODMNIST, FOLDER)}
)
"""Name -> center, in the order in which they are shown."""


def find_center(name: str | Center) -> Center:
    """Look a center up by name; one that is described already is given back.

    Raises:
        UsageError: there is none of that name.
    """
    if isinstance(name, Center):
        return name
    if name not in CENTERS:
        raise UsageError(f"no center {name!r}; there are: {', '.join(CENTERS)}")
    return CENTERS[name]
