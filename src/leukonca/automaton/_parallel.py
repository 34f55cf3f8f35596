"""Threads of the CPU engine: one image each, and for the last ones several threads an image."""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukonca.interrupts import deferred, raise_if_asked
from leukonca.threads import default_threads

Gate = NDArray[np.int64]
"""Where the threads of one image meet: [0] counts arrivals, [8] (another cache line) says that one has failed."""

CAN_SHARE = os.name != "nt"
"""Whether a waiting thread can offer its processor to others (`sched_yield`)."""

Work = Callable[[int, int, int, Gate], None]
"""Called with the image, which part of its work to do, of how many, and where the parts meet."""


def over_images(work: Work, batch: int, threads: int | None, most_parts: int) -> None:
    """Do the work of a batch.

    As many images as fill all threads are worked on one a thread; each of the rest is shared by all threads, unless
    they are so many that one a thread they are done sooner. After an exception, Ctrl-C included, no image is begun.

    Args:
        work: see `Work`.
        batch: images.
        threads: at once; None: see `default_threads`.
        most_parts: that an image may be cut into; 1: never shared.
    """
    workers = threads or default_threads()
    parts = min(workers, most_parts) if CAN_SHARE else 1
    rest = batch % workers
    shared = rest if rest < parts else 0
    if workers > 1 and (batch > 1 or shared):
        with deferred():
            _in_pool(work, batch, shared, workers, parts)
        return
    for image in range(batch):
        raise_if_asked()
        work(image, 0, 1, _gate())


def _in_pool(work: Work, batch: int, shared: int, workers: int, parts: int) -> None:
    pool, gate = ThreadPoolExecutor(workers), _gate()
    try:
        _finish([pool.submit(_guarded, work, image, 0, 1, gate) for image in range(batch - shared)])
        for image in range(batch - shared, batch):
            gate = _gate()
            _finish([pool.submit(_guarded, work, image, part, parts, gate) for part in range(parts)])
    finally:
        gate[8] = 1  # nobody waits for a part that was never begun
        pool.shutdown(cancel_futures=True)


def _gate() -> Gate:
    return np.zeros(16, np.int64)


def _guarded(work: Work, image: int, part: int, parts: int, gate: Gate) -> None:
    try:
        raise_if_asked()
        work(image, part, parts, gate)
    except BaseException:
        gate[8] = 1  # or the others would wait for ever
        raise


def _finish(futures: list[Future[Any]]) -> None:
    for future in futures:
        future.result()
