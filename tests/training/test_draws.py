"""Batches that are made while others are worked on."""

import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from leukonca.data.augmentation import NO_AUGMENTATION, Augmentation
from leukonca.data.cells import Cells
from leukonca.data.levels import levels_of
from leukonca.data.splits import Split
from leukonca.training.draws import ahead, prepared, views
from leukonca.training.recipe import Recipe


def test_ahead_gives_the_same_items_in_their_order_and_makes_one_more_than_is_used() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for item in range(5):
            made.append(item)
            yield item

    waiting = ahead(items())
    assert next(waiting) == 0
    assert [0, *waiting] == [0, 1, 2, 3, 4] == made
    assert list(ahead(iter(()))) == []

    made.clear()
    stopped = ahead(items())
    assert [next(stopped), next(stopped)] == [0, 1]
    stopped.close()
    assert made == [0, 1, 2]


def test_what_goes_wrong_ahead_is_raised_where_the_item_is_wanted() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    waiting = ahead(items())
    assert next(waiting) == 1
    with pytest.raises(ValueError, match="no more"):
        next(waiting)
    assert threading.active_count() == 1 or not any("ThreadPool" in t.name for t in threading.enumerate())


def test_the_thread_that_works_ahead_leaves_the_other_cores_to_the_model() -> None:
    mine = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert list(ahead(torch.get_num_threads() for _ in range(2))) == [1, 1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(mine)


def test_batches_made_ahead_have_the_same_bits(cells: Cells, split: Split, recipe: Recipe) -> None:
    every = Augmentation(
        shift=0.1, scale=0.2, stain=0.3, mixing=0.2, tone=1.0, redness=1.0, levels=0.3, blur=0.05, noise=0.1, cut=0.5
    )
    colors = ((0.6, 0.5, 0.6), (0.2, 0.2, 0.2))

    def drawn(share: slice) -> Iterator:
        changed = replace(recipe, augmentation=every, stain_normalisation="lightness")
        return prepared(cells, split, changed, 3, 1, colors, lambda size: (share, 0.5))

    plain = list(drawn(slice(0, None)))
    assert [batch.done for batch in plain] == [4, 8, 12, 14]
    for one, other in zip(plain, ahead(drawn(slice(0, None))), strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
        np.testing.assert_array_equal(one.seeds, other.seeds)
    for whole, part in zip(plain, drawn(slice(1, 2)), strict=True):
        assert (part.size, part.weight) == (whole.size, 0.5)
        assert torch.equal(part.images, whole.images[1:2])


def test_levels_change_stretched_views_by_their_seeds_mild_ones_as_well(cells: Cells, recipe: Recipe) -> None:
    colors = ((0.3, 0.3, 0.0), (0.5, 0.25, 0.125))
    batch, seeds = np.arange(6), np.arange(40, 46)

    def seen(levels: float) -> np.ndarray:
        augmentation = replace(NO_AUGMENTATION, levels=levels, mild=1.0)
        settings = replace(recipe, augmentation=augmentation, stain_normalisation="lightness")
        shown = views(cells, batch, settings, seeds, 16, colors).numpy()
        return shown * np.reshape(colors[1], (3, 1, 1)) + np.reshape(colors[0], (3, 1, 1))

    gain, offset = levels_of(seeds, 0.2)
    plain = seen(0.0)[:, :2]
    wanted = plain * gain[..., None, None] + offset[..., None, None]
    inside = (np.abs(plain - 0.5) < 0.99) & (np.abs(wanted - 0.5) < 0.99)  # -0.5 to 1.5 is what there is
    assert inside.mean() > 0.5
    np.testing.assert_allclose(seen(0.2)[:, :2][inside], wanted[inside], atol=1e-5)
