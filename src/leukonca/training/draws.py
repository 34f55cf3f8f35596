"""What an epoch sees: which cells, in which views; all follow from the run's seed, the epoch and the position in it."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from leukonca.data.augment import augment, normalise
from leukonca.data.cells import Cells
from leukonca.data.colors import Color
from leukonca.data.levels import levels_of
from leukonca.data.sampling import balanced_draws
from leukonca.data.splits import Split
from leukonca.training.recipe import Recipe

Integers = NDArray[np.int64]
Item = TypeVar("Item")


class Batch(NamedTuple):
    """What one step of training sees; of several ranks, what this one does.

    Args:
        size: of the whole batch.
        done: images of the epoch drawn when it is over.
        weight: share of this rank's part in the batch's mean loss.
        images: views, normalised, float32 [b, 3, grid, grid].
        labels: int64 [b].
        seeds: of the fire masks, uint32 [b].
    """

    size: int
    done: int
    weight: float
    images: Tensor
    labels: Tensor
    seeds: NDArray[np.uint32]


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
    levels = levels_of(seeds, recipe.augmentation.levels)
    return normalise(seen, *colors, stain=recipe.preprocessing.stain, levels=levels)


def prepared(
    cells: Cells,
    split: Split,
    recipe: Recipe,
    seed: int,
    epoch: int,
    colors: tuple[Color, Color],
    share: Callable[[int], tuple[slice, float]],
) -> Iterator[Batch]:
    """The batches of an epoch, ready for the model.

    Args:
        cells: of the center.
        split: of these cells.
        recipe: all settings.
        seed: of the run.
        epoch: counted from 0.
        colors: mean and spread of the training images' colors.
        share: of a batch of that size, this rank's part and its weight.
    """
    for batch, positions in batches(cells, split, recipe, seed, epoch):
        mine, weight = share(len(batch))
        part, places = batch[mine], positions[mine]
        view_seeds = numbers(seed, epoch, places, b"view", np.int64)
        yield Batch(
            size=len(batch),
            done=int(positions[-1]) + 1,
            weight=weight,
            images=views(cells, part, recipe, view_seeds, recipe.grid_of(epoch), colors),
            labels=torch.from_numpy(cells.labels[part]),
            seeds=numbers(seed, epoch, places, b"fire", np.uint32),
        )


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items; while one is worked on, a thread of its own makes the next."""
    with ThreadPoolExecutor(1, initializer=_alone) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


def _alone() -> None:
    """Keep the calling thread's work to itself: the other cores are busy with the model."""
    torch.get_num_threads()  # a thread's first use of torch sets its number of threads, and would do so later
    threadpool_limits(1, "openmp")


def watched(split: Split, recipe: Recipe, seed: int) -> Integers:
    """The validation images that are looked at, the same after every epoch."""
    if len(split.validation) <= recipe.validation_images:
        return split.validation
    return np.sort(np.random.default_rng(seed).choice(split.validation, recipe.validation_images, replace=False))


def numbers(seed: int, epoch: int, positions: Integers, use: bytes, dtype: Any) -> NDArray[Any]:
    """One independent non-negative number for each position of an epoch and each use."""
    words = [np.random.SeedSequence([seed, epoch, int(p), *use]).generate_state(1, np.uint64)[0] for p in positions]
    return (np.array(words, np.uint64) >> np.uint64(33 if dtype is np.uint32 else 2)).astype(dtype)
