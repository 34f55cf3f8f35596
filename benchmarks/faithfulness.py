"""Are the maps true? Deletion and insertion on validation cells, against maps that know nothing of the model.

A model's run folder names its validation images in split.json; the test images are not touched. The score is the
probability of the predicted class. Each row: mean over the cells, and the standard error of it.
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from leukonca import Explainer, Predictor
from leukonca.data.images import read_image
from leukonca.explain.faithfulness import blurred, curves, edges, flat, noise
from leukonca.progress import track


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    model: Path = Path("runs/acevedo20-compact")
    data: Path = Path("../shared/data/acevedo20")
    cells: int = 30
    points: int = 7
    epsilons: tuple[float, ...] = (0.0, 0.01, 0.1)
    seeds: int = 4
    """Runs averaged in one row."""
    blurred: bool = False
    """Empty places are blurred instead of having the training images' mean color."""


def maps(explainer: Explainer, image: np.ndarray, settings: Settings) -> tuple[object, dict[str, np.ndarray]]:
    why = explainer(image)
    found = {"channels' heat map": why.heat(), "its size": np.abs(why.heat()), "pixels, signed": why.pixel_map()}
    for epsilon in settings.epsilons:
        found[f"pixels, size, epsilon {epsilon:g}"] = np.abs(explainer(image, epsilon=epsilon).pixel_map())
    runs = [explainer(image, target=why.predicted, seed=seed).pixel_map() for seed in range(1, 1 + settings.seeds)]
    found[f"pixels, size of the mean of {settings.seeds} seeds"] = np.abs(np.mean(runs, axis=0))
    found["edges of the picture"] = edges(why.image)
    found["random"] = noise(why.image, 0)
    return why, found


def main(settings: Settings) -> None:
    split = json.loads((settings.model / "split.json").read_text(encoding="utf-8"))["validation"]
    chosen = np.random.default_rng(0).choice(len(split), settings.cells, replace=False)
    explainer, predictor = Explainer(settings.model), Predictor(settings.model)
    areas: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for index in track(chosen.tolist(), "cells", settings.cells):
        image = read_image(settings.data / split[index])
        why, found = maps(explainer, image, settings)
        number = why.classes.index(why.predicted)

        def score(squares: np.ndarray, number: int = number) -> np.ndarray:
            return predictor.probabilities(squares)[:, number]

        empty = blurred(why.image, 5.0) if settings.blurred else flat(why.image, explainer.config.mean)
        for name, relevance in found.items():
            curve = curves(why.image, relevance, score, empty, points=settings.points)
            areas[name].append((curve.deletion_area, curve.insertion_area))
    print(f"| map | deletion (lower is better) | insertion (higher is better) |\n|{'---|' * 3}")
    for name, values in areas.items():
        mean, error = np.mean(values, axis=0), np.std(values, axis=0, ddof=1) / np.sqrt(len(values))
        print(f"| {name} | {mean[0]:.3f} ± {error[0]:.3f} | {mean[1]:.3f} ± {error[1]:.3f} |")


if __name__ == "__main__":
    main(tyro.cli(Settings))
