"""Are the maps true? Deletion and insertion on validation cells, against maps that know nothing of the model.

The score is the probability of the predicted class. The test images are not touched.
"""

from collections import defaultdict

import numpy as np

from leukonca.explain.faithfulness import curves, edges, flat, noise
from leukonca.progress import track
from subject import Row, Subject, spread

CELLS, POINTS, SEEDS = 24, 7, 4
EPSILONS = (0.0, 0.01, 0.1)


def maps(subject: Subject, image: np.ndarray) -> tuple[object, dict[str, np.ndarray]]:
    explain = subject.explain
    why = explain(image)
    found = {"channels' heat map": why.heat(), "its size": np.abs(why.heat()), "pixels, signed": why.pixel_map()}
    for epsilon in EPSILONS:
        found[f"pixels, size, epsilon {epsilon:g}"] = np.abs(explain(image, epsilon=epsilon).pixel_map())
    runs = [explain(image, target=why.predicted, seed=seed).pixel_map() for seed in range(1, 1 + SEEDS)]
    found[f"pixels, size of the mean of {SEEDS} seeds"] = np.abs(np.mean(runs, axis=0))
    found["gradient, size"] = subject.gradient(why.image, why.predicted)
    found["edges of the picture"] = edges(why.image)
    found["random"] = noise(why.image, 0)
    return why, found


def measure(subject: Subject) -> Row:
    areas: dict[str, list[tuple[float, float]]] = defaultdict(list)
    cells = subject.cells(CELLS)
    for _, image in track(cells, "faithfulness", len(cells)):
        why, found = maps(subject, image)
        number = why.classes.index(why.predicted)

        def score(squares: np.ndarray, number: int = number) -> np.ndarray:
            return subject.predictor.probabilities(squares)[:, number]

        empty = flat(why.image, subject.empty_color)
        for name, relevance in found.items():
            curve = curves(why.image, relevance, score, empty, points=POINTS)
            areas[name].append((curve.deletion_area, curve.insertion_area))
    rows = []
    for name, values in areas.items():
        deletion, insertion = np.array(values).T
        rows.append({"map": name, "deletion": spread(deletion), "insertion": spread(insertion)})
    return {"cells": len(cells), "rows": rows}
