"""Batches that are made while others are worked on."""

import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from leukonca.data.augmentation import Augmentation
from leukonca.data.cells import Cells
from leukonca.data.splits import Split
from leukonca.training.draws import ahead, prepared
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
        shift=0.1, scale=0.2, stain=0.3, mixing=0.2, tone=1.0, redness=1.0, blur=0.05, noise=0.1, cut=0.5
    )
    colors = ((0.6, 0.5, 0.6), (0.2, 0.2, 0.2))

    def drawn(share: slice) -> Iterator:
        changed = replace(recipe, augmentation=every)
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
