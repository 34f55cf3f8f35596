"""Is it the same explanation under another seed, or when the cell is turned or mirrored?

Maps of the moved image are moved back and compared with those of the image as it is, for the class that this one was
given; inside the circle that every turn leaves in the picture. To be compared with two different cells.
"""

from collections import defaultdict

import numpy as np
from scipy.stats import spearmanr

from leukonca import Explanation
from leukonca.explain.stability import MOVES, agreement
from leukonca.progress import track
from subject import Row, Subject, spread

CELLS, SEEDS = 24, 2


def compare(one: Explanation, other: Explanation, heat: np.ndarray, pixels: np.ndarray) -> dict[str, float]:
    """`heat` and `pixels` are the other's maps, moved back."""
    looks, comes = agreement(one.heat(), heat), agreement(np.abs(one.pixel_map()), np.abs(pixels))
    return {
        "channels": spearmanr(one.channels, other.channels).statistic,
        "heat_rank": looks.rank,
        "heat_similarity": looks.similarity,
        "pixels_rank": comes.rank,
        "pixels_similarity": comes.similarity,
        "same_class": float(one.predicted == other.predicted),
    }


def measure(subject: Subject) -> Row:
    explain, found = subject.explain, defaultdict(list)
    cells = subject.cells(CELLS, seed=2)
    known: list[Explanation] = []
    for _, image in track(cells, "stability", len(cells)):
        why = explain(image)
        known.append(why)
        for seed in range(1, 1 + SEEDS):
            other = explain(image, target=why.predicted, seed=seed)
            found["another seed"].append(compare(why, other, other.heat(), other.pixel_map()))
        for name, move in MOVES.items():
            other = explain(move.do(image), target=why.predicted)
            found[name].append(compare(why, other, move.undo(other.heat()), move.undo(other.pixel_map())))
    for why, other in zip(known, known[1:] + known[:1], strict=True):
        found["another cell"].append(compare(why, other, other.heat(), other.pixel_map()))
    rows = []
    for name, values in found.items():
        by_cell = np.array([list(value.values()) for value in values]).reshape(len(cells), -1, len(values[0])).mean(1)
        rows.append({"what": name} | {key: spread(by_cell[:, i]) for i, key in enumerate(values[0])})
    return {"cells": len(cells), "rows": rows}
