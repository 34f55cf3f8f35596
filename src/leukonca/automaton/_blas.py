"""BLAS in one thread: images are spread over threads, and a product's bits must not depend on their number."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

import scipy.linalg  # noqa: F401  (its BLAS is what numba calls; loaded here so that its threads can be limited)
import threadpoolctl

_lock = Lock()
_users = 0
_limit: Any = None


@contextmanager
def one_thread_for_all() -> Iterator[None]:
    """Limit what is the whole process's; the first to enter sets the limit, the last to leave lifts it."""
    global _users, _limit
    with _lock:
        if not _users:
            _take_control()
            _limit = libraries()[0].limit(limits=1)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _take_control()
                _limit.restore_original_limits()
                _take_control()


@contextmanager
def one_thread_for_this() -> Iterator[None]:
    """Limit, in the calling thread, libraries that keep a number of threads for each thread that calls them."""
    own = libraries()[1]
    if not own.lib_controllers:
        yield
        return
    with own.limit(limits=1):
        yield


@cache
def libraries() -> tuple[Any, Any]:
    """The loaded BLAS libraries: those with one limit for the process, and those with one for each thread."""
    blas = threadpoolctl.ThreadpoolController().select(user_api="blas")
    own = blas.select(threading_layer="openmp").select(internal_api="openblas")
    shared = [library.filepath for library in blas.lib_controllers if library not in own.lib_controllers]
    return blas.select(filepath=shared), own


def _take_control() -> None:
    """From 3.8 on, threadpoolctl silently ignores all threads but the first that ever set a limit, unless told."""
    clear = getattr(getattr(threadpoolctl, "OpenBLASController", None), "clear_controlling_thread", None)
    if clear is not None:
        clear(force=True)
