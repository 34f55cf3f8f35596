"""Runs in several threads: BLAS keeps to one thread as long as any of them needs it, and no longer."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from leukonca.automaton import _blas, cpu
from leukonca.automaton.rule import Rule


@pytest.fixture(autouse=True)
def two() -> Iterator[None]:
    """BLAS with two threads, also on a machine with one processor."""
    with threadpool_limits(2, user_api="blas"):
        yield


def blas_threads() -> set[int]:
    return {library["num_threads"] for library in _blas.libraries()[0].info()}


def wait_for(event: threading.Event) -> None:
    assert event.wait(timeout=300)


def started(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("first_out", [0, 1])
def test_the_limit_lasts_from_the_first_in_to_the_last_out(first_out: int) -> None:
    inside = [threading.Event(), threading.Event()]
    leave = [threading.Event(), threading.Event()]
    seen: list[set[int]] = []

    def run(who: int) -> None:
        def one(_: int) -> None:
            inside[who].set()
            wait_for(leave[who])
            seen.append(blas_threads())

        cpu._over_images(one, 1, 1)

    assert blas_threads() == {2}
    threads = []
    for who in (0, 1):
        threads.append(started(lambda who=who: run(who)))
        wait_for(inside[who])
    for who in (first_out, 1 - first_out):
        assert blas_threads() == {1}
        leave[who].set()
        threads[who].join(timeout=300)
    assert seen == [{1}, {1}]
    assert blas_threads() == {2}


def test_a_failure_lifts_the_limit() -> None:
    def fail(_: int) -> None:
        assert blas_threads() == {1}
        raise ZeroDivisionError

    for threads in (1, 2):
        with pytest.raises(ZeroDivisionError):
            cpu._over_images(fail, 2, threads)
        assert blas_threads() == {2}


def test_a_limit_of_the_callers_own_comes_back() -> None:
    with threadpool_limits(1, user_api="blas"):
        cpu._over_images(lambda _: None, 1, 1)
        assert blas_threads() == {1}
    cpu._over_images(lambda _: None, 1, 1)
    assert blas_threads() == {2}


def test_libraries_with_a_limit_for_each_thread_are_limited_in_each_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    limited: list[int] = []

    class Libraries:
        lib_controllers = ("an OpenBLAS over OpenMP",)

        @contextmanager
        def limit(self, *, limits: int) -> Iterator[None]:
            limited.append(threading.get_ident())
            assert limits == 1
            yield
            limited.remove(threading.get_ident())

    shared = _blas.libraries()[0]
    monkeypatch.setattr(_blas, "libraries", lambda: (shared, Libraries()))
    seen: set[int] = set()
    both = threading.Barrier(2)

    def one(_: int) -> None:
        both.wait(timeout=300)
        assert threading.get_ident() in limited
        seen.add(threading.get_ident())

    cpu._over_images(one, 2, 2)
    assert len(seen) == 2
    assert not limited


def test_runs_side_by_side_give_the_bits_of_runs_alone() -> None:
    rng = np.random.default_rng(0)
    shapes = (2, 6, 3, 3), (2, 6), (24, 18), (24,), (6, 24)
    rule = Rule(*(rng.normal(scale=0.2, size=shape).astype(np.float32) for shape in shapes))
    batches = rng.normal(size=(4, 2, 3, 9, 9)).astype(np.float32)
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
    assert blas_threads() == {2}
