"""Tape memory is used again: fresh pages from the operating system cost a third of a forward pass (measured)."""

import math
import threading
import weakref
from collections import deque

import numpy as np

from leukonca.automaton.rule import Array

MOST_BYTES = 2 << 30
"""Memory kept for the next passes, at most; what was given back first is dropped first."""

_spares: deque[Array] = deque()
_returned: deque[Array] = deque()
"""Not yet among the spares. Tapes end wherever garbage is collected, also while this thread holds the lock, so that
giving back must not wait for it; appending to a deque needs none."""
_lock = threading.Lock()


LINE = 64
"""Bytes that a processor fetches together; a vector that lies across two lines costs two."""


def aligned(*shape: int) -> Array:
    """Uninitialised float32 array that begins with a cache line."""
    wanted = math.prod(shape)
    return _cut(np.empty(wanted + LINE // 4, np.float32), wanted).reshape(shape)


def borrow(rows: int, columns: int) -> Array:
    """Uninitialised aligned float32 [rows, columns], in used memory where a spare block is large enough."""
    wanted = rows * columns + LINE // 4
    block = _take(wanted)
    _tidy()  # what was given back meanwhile
    if block is None:
        # Somewhat more than needed, so that the next image, where a few more cells fire, fits as well.
        block = np.empty(wanted + wanted // 16 + 1024, np.float32)
    return _cut(block, rows * columns).reshape(rows, columns)


def give_back_with(owner: object, arrays: list[Array]) -> None:
    """Keep the memory of borrowed arrays for the next `borrow` once `owner` is gone; nobody else may hold them."""
    blocks = [array.base for array in arrays if array.base is not None]
    weakref.finalize(owner, _keep, blocks)


def _cut(block: Array, wanted: int) -> Array:
    first = -block.ctypes.data % LINE // 4
    return block[first : first + wanted]


def _take(wanted: int) -> Array | None:
    with _lock:
        _sort_in()
        for index, block in enumerate(_spares):
            if wanted <= block.size <= 2 * wanted:
                del _spares[index]
                return block
    return None


def _keep(blocks: list[Array]) -> None:
    _returned.extend(block.reshape(-1) for block in blocks)
    _tidy()


def _tidy() -> None:
    """Returned blocks become spares, unless somebody holds the lock: who does comes here afterwards."""
    while _returned and _lock.acquire(blocking=False):
        try:
            _sort_in()
        finally:
            _lock.release()


def _sort_in() -> None:
    while _returned:
        _spares.append(_returned.popleft())
    kept = sum(block.nbytes for block in _spares)
    while kept > MOST_BYTES:
        kept -= _spares.popleft().nbytes
