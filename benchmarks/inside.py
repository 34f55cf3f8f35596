"""Do maps point at the cell? Pointing game and relevance mass inside cell and nucleus, where masks are known.

JTSC's masks were drawn by hand, those of the synthetic cells are how they were made. The model has seen neither, and
the class that is explained is the one it gives, right or wrong.
"""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from leukonca import CLASSES
from leukonca.data.images import read_image
from leukonca.data.synthetic import SYNTHETIC_CENTERS, SYNTHETIC_IMAGE_UM, draw_cell
from leukonca.evaluation.intervals import wilson_interval
from leukonca.explain.faithfulness import edges
from leukonca.explain.localization import mass_inside, pointing
from leukonca.explain.masks import MaskFolder
from leukonca.progress import track
from subject import Row, Subject, spread

JTSC, SYNTHETIC = 120, 78
"""Cells of JTSC, and synthetic cells: the classes and centers in turn."""

TARGETS = ("cell", "nucleus")

Cell = tuple[np.ndarray, np.ndarray, float | None]


def jtsc(subject: Subject) -> Iterator[Cell]:
    masks = MaskFolder(subject.shared / "jtsc-masks")
    paths = sorted((subject.shared / "jtsc").rglob("*.png"))
    for index in np.random.default_rng(0).choice(len(paths), subject.few(JTSC), replace=False).tolist():
        image = read_image(paths[index])
        yield image, masks.read(paths[index], image), None


def synthetic(subject: Subject) -> Iterator[Cell]:
    for number in range(subject.few(SYNTHETIC)):
        center, name = SYNTHETIC_CENTERS[number % len(SYNTHETIC_CENTERS)], CLASSES[number % len(CLASSES)]
        yield *draw_cell(center, name, number, 0), SYNTHETIC_IMAGE_UM[center]


def maps(subject: Subject, why: object, image: np.ndarray, um: float | None) -> dict[str, np.ndarray]:
    plain = subject.explainer(image, image_um=um, epsilon=0)
    return {
        "channels' heat map": why.heat(),
        "pixels, signed": why.pixel_map(),
        "pixels, size": np.abs(why.pixel_map()),
        "gradient times input, size": np.abs(plain.pixel_map()),
        "gradient, size": subject.gradient(why.image, why.predicted),
        "edges of the picture": edges(why.image),
    }


def of_cells(subject: Subject, name: str, cells: list[Cell]) -> list[Row]:
    hits: dict[tuple[str, str], list[float]] = defaultdict(list)
    masses: dict[tuple[str, str], list[float]] = defaultdict(list)
    for image, mask, um in track(cells, f"inside, {name}", len(cells)):
        why = subject.explainer(image, mask=mask, image_um=um)
        inside = {"cell": why.mask > 0, "nucleus": why.mask == 255}
        for target in TARGETS:
            covered = float(inside[target].mean())
            for scores in (hits, masses):
                scores["random", target].append(covered)  # what a map that knows nothing gets, without its noise
            for kind, relevance in maps(subject, why, image, um).items():
                hits[kind, target].append(pointing(relevance, inside[target]))
                masses[kind, target].append(mass_inside(relevance, inside[target]))
    kinds = sorted(dict.fromkeys(kind for kind, _ in hits), key=lambda kind: kind == "random")
    return [
        {"cells_of": name, "cells": len(cells), "map": kind}
        | {f"points_at_{target}": _share(hits[kind, target], kind) for target in TARGETS}
        | {f"mass_in_{target}": spread(masses[kind, target]) for target in TARGETS}
        for kind in kinds
    ]


def _share(values: list[float], kind: str) -> dict[str, float]:
    """Hits are shares of cells: Wilson's interval. What chance would give is no count."""
    if kind == "random":
        return spread(values)
    low, high = wilson_interval(round(sum(values)), len(values))
    return {"mean": float(np.mean(values)), "low": low, "high": high}


def measure(subject: Subject) -> Row:
    sets = {"JTSC": list(jtsc(subject)), "synthetic": list(synthetic(subject))}
    rows = [row for name, cells in sets.items() for row in of_cells(subject, name, cells)]
    return {"cells": sum(map(len, sets.values())), "rows": rows}
