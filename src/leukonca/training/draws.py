"""What an epoch sees: which cells, in which views; all follow from the run's seed, the epoch and the position in it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leukonca.data.augment import augment, normalise
from leukonca.data.cells import Cells
from leukonca.data.colors import Color
from leukonca.data.sampling import balanced_draws
from leukonca.data.splits import Split
from leukonca.training.recipe import Recipe

Integers = NDArray[np.int64]


def draws_of(recipe: Recipe, split: Split) -> int:
    """How many images an epoch draws."""
    return recipe.draws or len(split.train)


def batches(cells: Cells, split: Split, recipe: Recipe, seed: int, epoch: int) -> Iterator[tuple[Integers, Integers]]:
    """Indices of cells and their positions in the epoch, int64 [B] each."""
    train, count = split.train, draws_of(recipe, split)
    if recipe.balance:
        order = train[balanced_draws(cells.labels[train], seed, epoch, count)]
    else:
        shuffled = np.random.default_rng([seed, epoch]).permutation(train)
        order = np.resize(shuffled, count)
    for low in range(0, count, recipe.batch_size):
        batch = order[low : low + recipe.batch_size]
        yield batch, np.arange(low, low + len(batch))


def views(
    cells: Cells, batch: Integers, recipe: Recipe, seeds: Integers, grid: int, colors: tuple[Color, Color]
) -> Tensor:
    """A random view of every cell, normalised, float32 [B, 3, grid, grid].

    Args:
        cells: of the center.
        batch: which of them, int64 [B].
        recipe: says what may change.
        seeds: int64 [B], one a view.
        grid: side of the views.
        colors: mean and spread of the training images' colors.
    """
    squares = torch.from_numpy(np.ascontiguousarray(cells.images[batch]))  # uint8 [B, side, side, 3]
    seen = augment(squares, recipe.preprocessing, recipe.augmentation, torch.from_numpy(seeds), grid=grid)
    return normalise(seen, *colors, stain=recipe.preprocessing.stain)


def watched(split: Split, recipe: Recipe, seed: int) -> Integers:
    """The validation images that are looked at, the same after every epoch."""
    if len(split.validation) <= recipe.validation_images:
        return split.validation
    return np.sort(np.random.default_rng(seed).choice(split.validation, recipe.validation_images, replace=False))


def numbers(seed: int, epoch: int, positions: Integers, use: bytes, dtype: Any) -> NDArray[Any]:
    """One independent non-negative number for each position of an epoch and each use."""
    words = [np.random.SeedSequence([seed, epoch, int(p), *use]).generate_state(1, np.uint64)[0] for p in positions]
    return (np.array(words, np.uint64) >> np.uint64(33 if dtype is np.uint32 else 2)).astype(dtype)
