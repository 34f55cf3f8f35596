"""Tape memory is used again: fresh pages from the operating system cost a third of a forward pass (measured)."""

import threading
import weakref

import numpy as np

from leukonca.automaton.rule import Array

MOST_SPARES = 64
"""Blocks kept for the next pass, at most: one batch of images, twice."""

_spares: list[Array] = []
_lock = threading.Lock()


def borrow(rows: int, columns: int) -> Array:
    """Uninitialised float32 [rows, columns], in used memory where a spare block is large enough."""
    wanted = rows * columns
    with _lock:
        for index, block in enumerate(_spares):
            if wanted <= block.size <= 2 * wanted:
                return _spares.pop(index)[:wanted].reshape(rows, columns)
    # Somewhat more than needed, so that the next image, where a few more cells fire, fits as well.
    return np.empty(wanted + wanted // 16 + 1024, np.float32)[:wanted].reshape(rows, columns)


def give_back_with(owner: object, arrays: list[Array]) -> None:
    """Keep the memory of borrowed arrays for the next `borrow` once `owner` is gone; nobody else may hold them."""
    blocks = [array.base for array in arrays if array.base is not None]
    weakref.finalize(owner, _keep, blocks)


def _keep(blocks: list[Array]) -> None:
    with _lock:
        _spares.extend(block.reshape(-1) for block in blocks)
        del _spares[:-MOST_SPARES]
