"""Runs in several threads: the same bits however the work is shared, and no thread waits for one that failed."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from leukonca.automaton import _parallel, cpu
from leukonca.automaton._parallel import Gate, over_images

from .rules import random_rule


def started(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_runs_side_by_side_give_the_bits_of_runs_alone() -> None:
    rule = random_rule(6, 24)
    batches = np.random.default_rng(1).normal(size=(4, 2, 3, 9, 9)).astype(np.float32)
    results: dict[int, bytes] = {}

    def run(k: int) -> None:
        results[k] = cpu.rollout(batches[k], rule, steps=6, fire_rate=0.5, seeds=k).tobytes()

    for thread in [started(lambda k=k: run(k)) for k in range(4)]:
        thread.join(timeout=300)
    together = dict(results)
    results.clear()
    for k in range(4):
        run(k)
    assert results == together


@pytest.mark.parametrize("frozen", [3, 48])
@pytest.mark.parametrize(("height", "width", "batch"), [(40, 33, 1), (27, 64, 3), (16, 16, 5)])
def test_images_shared_by_threads_have_the_bits_of_images_run_by_one(
    height: int, width: int, batch: int, frozen: int
) -> None:
    rule = random_rule(frozen + 17, 40)
    images = np.random.default_rng(2).normal(size=(batch, frozen, height, width)).astype(np.float32)
    seeds = np.arange(batch, dtype=np.uint32)

    def run(threads: int) -> tuple[bytes, bytes]:
        settings = {"steps": 7, "fire_rate": 0.6, "seeds": seeds, "threads": threads}
        return (
            cpu.rollout(images, rule, **settings).tobytes(),
            cpu.rollout_recorded(images, rule, **settings).tobytes(),
        )

    alone = run(1)
    for threads in (2, 3, 4):
        assert run(threads) == alone


@pytest.mark.parametrize("frozen", [3, 48])
def test_gradients_have_the_same_bits_for_any_number_of_threads(frozen: int) -> None:
    rule = random_rule(frozen + 6, 17)
    images = np.random.default_rng(3).normal(size=(3, frozen, 24, 24)).astype(np.float32)
    results = []
    for threads in (1, 2, 4):
        tape = cpu.rollout_taped(
            images, rule, steps=5, fire_rate=0.5, seeds=np.arange(3, dtype=np.uint32), threads=threads
        )
        gradient = np.random.default_rng(4).normal(size=tape.states.shape).astype(np.float32)
        by_images, by_rule = cpu.rollout_backward(tape, gradient, rule, threads=threads)
        arrays = (by_images, *vars(by_rule).values())
        assert all(array.any() for array in arrays)
        results.append([array.tobytes() for array in arrays])
    assert results[0] == results[1] == results[2]


def test_every_image_is_worked_on_once_and_the_last_ones_in_parts() -> None:
    seen: list[tuple[int, int, int]] = []
    lock = threading.Lock()

    def work(image: int, part: int, parts: int, _: Gate) -> None:
        with lock:
            seen.append((image, part, parts))

    over_images(work, batch=5, threads=3, most_parts=8)
    whole = [(image, 0, 1) for image in range(3)]
    assert sorted(seen) == whole + [(image, part, 3) for image in (3, 4) for part in range(3)]
    seen.clear()
    over_images(work, batch=5, threads=3, most_parts=1)
    assert sorted(seen) == [(image, 0, 1) for image in range(5)]
    seen.clear()
    over_images(work, batch=1, threads=4, most_parts=2)
    assert sorted(seen) == [(0, 0, 2), (0, 1, 2)]


def test_images_are_shared_only_where_they_are_done_sooner_than_one_a_thread() -> None:
    seen: list[tuple[int, int]] = []

    def work(image: int, part: int, parts: int, _: Gate) -> None:
        seen.append((image, parts))

    over_images(work, batch=5, threads=8, most_parts=4)  # five images, four threads each, one after the other
    assert sorted(seen) == [(image, 1) for image in range(5)]
    seen.clear()
    over_images(work, batch=3, threads=8, most_parts=4)
    assert sorted(seen) == [(image, 4) for image in range(3) for _ in range(4)]


def test_after_a_failure_no_image_is_begun() -> None:
    begun: list[int] = []
    failed = threading.Event()

    def work(image: int, part: int, parts: int, _: Gate) -> None:
        begun.append(image)
        if image == 0:
            failed.set()
            raise KeyboardInterrupt
        failed.wait(60)

    with pytest.raises(KeyboardInterrupt):
        over_images(work, batch=400, threads=2, most_parts=1)
    assert len(begun) < 400


def test_a_part_that_is_never_begun_does_not_leave_the_others_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after Ctrl-C between two of them, or where the system gives no more threads."""

    class Pool(ThreadPoolExecutor):
        def submit(self, *arguments: Any) -> Any:
            if arguments[3] == 1:  # the second part
                raise RuntimeError("can't start new thread")
            return super().submit(*arguments)

    monkeypatch.setattr(_parallel, "ThreadPoolExecutor", Pool)
    raised: list[BaseException] = []

    def run() -> None:
        try:
            cpu.rollout(
                np.zeros((1, 3, 24, 24), np.float32), random_rule(4, 4), steps=3, fire_rate=1, seeds=0, threads=2
            )
        except RuntimeError as error:
            raised.append(error)

    thread = started(run)
    thread.join(timeout=300)
    assert not thread.is_alive()
    assert str(raised[0]) == "can't start new thread"


def test_a_part_that_fails_does_not_leave_the_others_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other part is inside compiled code, where nothing could interrupt it."""
    made: list[Gate] = []

    def gate() -> Gate:
        made.append(np.zeros(16, np.int64))
        return made[-1]

    monkeypatch.setattr(_parallel, "_gate", gate)
    real = cpu._kernels.forward

    def forward(*arguments: object) -> None:
        if arguments[-3] == 1:
            raise ZeroDivisionError
        real(*arguments)

    monkeypatch.setattr(cpu._kernels, "forward", forward)
    image = np.zeros((1, 3, 24, 24), np.float32)
    with pytest.raises(ZeroDivisionError):
        cpu.rollout(image, random_rule(4, 4), steps=3, fire_rate=0.5, seeds=0, threads=2)
    assert made[-1][8] == 1
