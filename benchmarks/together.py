"""How right are models of one split, alone and as the mean of their probabilities, on validation images and on views?

python benchmarks/together.py runs/rate runs/resnext40 [--shared ../shared/data]

All validation images of the models' split, which none of them learned from, first as they are, then in one random view
each as trainings see them (preset `compact`: half of them mild), in each model's number of pixels. One run each, at
each model's own temperature; the negative log likelihood beside the accuracy. Below, of each pair the images that one
of the two alone names rightly, and how likely so uneven a share is by chance (exact sign test): what a choice between
them may rest on. About half a minute a model; test images, JTSC and BCCD are not looked at.
"""

import argparse
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import leukonca
from leukonca.data.augment import centre_images, normalise
from leukonca.data.cells import Cells, load_cells
from leukonca.data.official import split_for
from leukonca.models.classifier import Classifier
from leukonca.training.draws import numbers, views
from leukonca.training.recipe import recipe_for
from marks import table
from paired import by_chance

BATCH = 32
SEED = 0
RECIPE = recipe_for("compact")


def images_of(model: Classifier, cells: Cells, batch: NDArray[np.int64], *, as_trained: bool) -> torch.Tensor:
    """Of some cells, normalised with the model's colors, float32 [B, 3, grid, grid]."""
    grid, colors = cells.preprocessing.grid, model.config.normalisation()
    if as_trained:
        recipe = replace(RECIPE, architecture=replace(RECIPE.architecture, grid=grid))
        return views(cells, batch, recipe, numbers(SEED, 0, batch, b"view", np.int64), grid, colors)
    squares = torch.from_numpy(np.ascontiguousarray(cells.images[batch]))
    return normalise(centre_images(squares, cells.preprocessing), *colors, stain=cells.preprocessing.stain)


@torch.no_grad()
def probabilities(model: Classifier, cells: Cells, which: NDArray[np.int64], *, as_trained: bool) -> NDArray:
    """[N, classes]"""
    found = []
    for low in range(0, len(which), BATCH):
        images = images_of(model, cells, which[low : low + BATCH], as_trained=as_trained)
        found.append((model(images, seed=SEED) / model.config.temperature).softmax(dim=1).numpy())
    return np.concatenate(found)


def score(said: NDArray, truth: NDArray) -> str:
    """Accuracy in per cent, and the negative log likelihood."""
    right = (said.argmax(axis=1) == truth).mean()
    return f"{100 * right:.1f}, {-np.log(said[np.arange(len(truth)), truth]).mean():.3f}"


def apart(one: NDArray, other: NDArray, truth: NDArray) -> str:
    """How many images each of two models alone names rightly, and the probability of that by chance."""
    right, also = (said.argmax(axis=1) == truth for said in (one, other))
    first, second = int((right & ~also).sum()), int((also & ~right).sum())
    return f"{first}, {second}; p = {by_chance(first, second):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders of leukonca train, all of one split")
    parser.add_argument("--shared", type=Path, default=Path(__file__).parent.parent.parent / "shared" / "data")
    words = parser.parse_args()
    models = {run.resolve().name: leukonca.load(run) for run in words.runs}
    first = next(iter(models.values())).config
    for name, model in models.items():
        if model.config.data["split_sha256"] != first.data["split_sha256"]:
            raise SystemExit(f"{name}: of another split, so it may have learned from these images")
        if model.config.preprocessing.in_pixels_of(first.preprocessing) != first.preprocessing:
            raise SystemExit(f"{name}: sees other views")
    center = str(first.data["center"])
    shown = {
        settings: load_cells(center, words.shared / center, settings, quiet=True)
        for settings in {model.config.preprocessing for model in models.values()}
    }
    cells = shown[first.preprocessing]
    split = split_for(cells, fold=first.data["fold"], folds=first.data["folds"], seed=int(first.recipe["seed"]))
    which, truth = split.validation, cells.labels[split.validation]
    said = {
        as_trained: {
            name: probabilities(model, shown[model.config.preprocessing], which, as_trained=as_trained)
            for name, model in models.items()
        }
        for as_trained in (False, True)
    }
    groups = [group for count in range(1, len(models) + 1) for group in combinations(models, count)]
    rows = [
        (" + ".join(group), *(score(np.mean([each[name] for name in group], axis=0), truth) for each in said.values()))
        for group in groups
    ]
    head = (f"{len(which):,} validation images", "views of them as in training")
    print(table(("models", *head), rows))
    pairs = [
        (f"{one}, {other}", *(apart(each[one], each[other], truth) for each in said.values()))
        for one, other in combinations(models, 2)
    ]
    print(f"\n{table(('right by the first alone, by the second alone', *head), pairs)}" if pairs else "")


if __name__ == "__main__":
    main()
