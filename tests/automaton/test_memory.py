"""Used memory is used again, within bounds, and never shows in a result."""

import gc
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from leukonca.automaton import _memory, cpu
from leukonca.automaton._memory import borrow, give_back_with
from leukonca.automaton.rule import Rule


class Owner:
    """Something that can be gone."""


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    gc.collect()
    _memory._spares.clear()
    yield
    _memory._spares.clear()


def lend(*sizes: int) -> list[np.ndarray]:
    """Borrow one column per size and give all back; the blocks that were used."""
    owner, arrays = Owner(), [borrow(size, 1) for size in sizes]
    give_back_with(owner, arrays)
    return [array.base for array in arrays]


def kept() -> int:
    return sum(block.nbytes for block in _memory._spares)


def test_a_block_is_lent_again_once_its_owner_is_gone_and_not_before() -> None:
    owner, first = Owner(), borrow(500, 20)
    give_back_with(owner, [first])
    assert not np.shares_memory(borrow(500, 20), first)
    del owner
    again = borrow(20, 500)
    assert np.shares_memory(again, first)
    assert (again.shape, again.dtype) == ((20, 500), np.float32)
    assert not np.shares_memory(borrow(500, 20), again)  # a block is lent to one at a time


def test_a_block_is_not_lent_for_much_less_or_for_more_than_it_holds() -> None:
    (block,) = lend(10_000)
    for size in (block.size + 1, block.size // 2 - 17):
        assert not np.shares_memory(borrow(size, 1), block)
    assert np.shares_memory(borrow(10_500, 1), block)  # a few more rows than last time fit


def test_bytes_are_bounded_and_the_oldest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_memory, "MOST_BYTES", 1_000_000)
    blocks = [lend(size)[0] for size in (50_000, 110_000, 23_000, 2_000, 2_000_000, 4_500)]
    assert sum(block.nbytes for block in blocks) > _memory.MOST_BYTES
    assert kept() <= _memory.MOST_BYTES
    assert [block.size for block in _memory._spares] == [blocks[-1].size]  # one was too large to be kept at all
    lend(*[30_000] * 20)
    assert _memory.MOST_BYTES - 150_000 < kept() <= _memory.MOST_BYTES


def test_many_small_blocks_are_kept() -> None:
    owner, arrays = Owner(), [borrow(100, 3) for _ in range(300)]
    give_back_with(owner, arrays)
    del owner
    assert len(_memory._spares) == 300


def test_giving_back_while_borrowing_cannot_lock_up() -> None:
    """Garbage is collected at any allocation, also at one that `borrow` makes itself."""
    owner, first = Owner(), borrow(100, 90)
    give_back_with(owner, [first])
    owners = [owner]
    del owner

    def collect_amid_borrowing() -> None:
        with _memory._lock:
            owners.clear()

    thread = threading.Thread(target=collect_amid_borrowing, daemon=True)
    thread.start()
    thread.join(timeout=300)
    assert not thread.is_alive()
    assert np.shares_memory(borrow(100, 90), first)


def test_threads_never_share_a_block() -> None:
    clashes = []

    def work(number: int) -> None:
        for _ in range(300):
            owner, array = Owner(), borrow(80, 25)
            array[:] = number
            give_back_with(owner, [array])
            if (array != number).any():
                clashes.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not clashes
    assert len(_memory._spares) <= 16  # the loop's last and its next, of each thread


def test_dirty_memory_does_not_show_in_the_bits() -> None:
    rng = np.random.default_rng(0)
    channels, hidden, side = 6, 24, 16
    shapes = (2, channels, 3, 3), (2, channels), (hidden, 3 * channels), (hidden,), (channels, hidden)
    rule = Rule(*(rng.normal(scale=0.2, size=shape).astype(np.float32) for shape in shapes))
    images = rng.normal(size=(3, 3, side, side)).astype(np.float32)
    gradient = rng.normal(size=(3, side, side, channels)).astype(np.float32)

    def run() -> tuple[list[bytes], list[np.ndarray]]:
        tape = cpu.rollout_taped(images, rule, steps=5, fire_rate=0.5, seeds=np.arange(3, dtype=np.uint32))
        by_images, by_rule = cpu.rollout_backward(tape, gradient, rule)
        results = (tape.states, by_images, *(getattr(by_rule, name) for name in Rule.__dataclass_fields__))
        return [array.tobytes() for array in results], [array.base for array in (*tape.replaced, *tape.hidden)]

    clean, blocks = run()
    assert len(_memory._spares) == 6
    for block in _memory._spares:
        block[:] = np.nan
    again, used = run()
    assert {id(block) for block in used} == {id(block) for block in blocks}
    assert again == clean
