"""Batches that are made while others are worked on."""

import threading
from collections.abc import Iterator

import pytest
import torch

from leukonca.training.draws import ahead


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
    assert made in ([0, 1], [0, 1, 2])


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
