"""Cells worked on together: a tile small enough for a core's cache, what it perceives, and its matrix products."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukonca.automaton._blocks import (
    block_2x1,
    block_2x4,
    block_6x1,
    block_6x4,
    block_8x1,
    block_8x2,
    block_8x3,
    fetch,
)
from leukonca.automaton._perception import perceive
from leukonca.automaton._stamped import kernel
from leukonca.automaton._vectors import BYTES, LANES, WIDE

Floats = NDArray[np.float32]
Scratch = tuple[Floats, Floats, Floats, Floats, NDArray[np.int64], NDArray[np.int32]]
"""One thread's memory: perceived and its gradient [TILE, 3C + pad], hidden and its gradient [TILE, hidden + pad],
places [TILE, 5], cells [HW + 1]."""

TILE = 72
"""Cells worked on together: a multiple of every block's rows; their perceptions fit into a core's cache."""

LARGEST_BLOCK = 24
"""Vectors that a block computes, at most."""

SPARE = 8
"""Rows that arrays have beyond their last one, where blocks may write what nobody reads."""

_U = np.uintp


@kernel
def _find_places(
    cells: NDArray[np.int32], low: int, size: int, height: int, width: int, row_bytes: int, places: NDArray[np.int64]
) -> None:
    """Per cell the offset of its own row, and from there those to the rows above, below, left and right of it,
    reflected at the borders; in bytes."""
    for i in range(size):
        cell = np.int64(cells[_U(low + i)])
        row = cell // width
        column = cell - row * width
        line = width * row_bytes
        places[_U(i), 0] = cell * row_bytes
        places[_U(i), 1] = -line if row > 0 else line
        places[_U(i), 2] = line if row < height - 1 else -line
        places[_U(i), 3] = -row_bytes if column > 0 else row_bytes
        places[_U(i), 4] = row_bytes if column < width - 1 else -row_bytes


@kernel
def product(
    rows: int,
    vectors: int,
    depth: int,
    a: Any,
    a_row: int,
    a_depth: int,
    b: Any,
    b_row: int,
    c: Any,
    c_row: int,
    ahead: Any,
    ahead_end: Any,
) -> None:
    """c[rows, vectors * LANES] += a[rows, depth] b; strides in bytes.

    b_row 0: b is packed for this, panel after panel (see `_packing._panels`); otherwise it has rows of that many bytes.
    Up to seven rows more than asked for are computed: c and a must have room for them, and for c they mean nothing.
    Meanwhile memory from `ahead` to `ahead_end` is fetched into the cache.
    """
    next_line, last_line = _U(ahead), _U(ahead_end)
    share = (last_line - next_line) // _U(BYTES) * _U(LARGEST_BLOCK) // _U(max(1, rows * vectors)) + _U(1)
    panels = (vectors + 3) // 4 if WIDE else vectors
    first = 0
    for panel in range(panels):
        width = vectors // panels + (1 if panel < vectors % panels else 0)
        right = _U(b) + _U(first * BYTES * (depth if b_row == 0 else 1))
        b_depth = _U(width * BYTES if b_row == 0 else b_row)
        row = 0
        while row < rows:
            left = _U(a) + _U(row * a_row)
            out = _U(c) + _U(row * c_row + first * BYTES)
            if next_line < last_line:
                fetch(next_line, share)
                next_line += share * _U(BYTES)
            args = (left, _U(a_row), _U(a_depth), right, b_depth, out, _U(c_row), _U(depth))
            if WIDE and width == 4 and rows - row >= 6:
                block_6x4(*args)
                row += 6
            elif WIDE and width == 4:
                block_2x4(*args)
                row += 2
            elif WIDE and width == 3:
                block_8x3(*args)
                row += 8
            elif WIDE and width == 2:
                block_8x2(*args)
                row += 8
            elif WIDE:
                block_8x1(*args)
                row += 8
            elif rows - row >= 6:
                block_6x1(*args)
                row += 6
            else:
                block_2x1(*args)
                row += 2
        first += width


@kernel
def perceive_tile(
    state: Floats, filters: Floats, scratch: Scratch, low: int, size: int, height: int, width: int
) -> None:
    """Cells low .. low + size of the firing ones -> the first rows of perceived, ordered itself, first, second view."""
    perceived, _, _, _, places, cells = scratch
    channels = filters.shape[1]
    row, view = _U(4 * perceived.shape[1]), _U(4 * channels)
    _find_places(cells, low, size, height, width, 4 * state.shape[1], places)
    for vector in range(channels // LANES):
        shift = _U(vector * BYTES)
        perceive(
            _U(state.ctypes.data) + shift, _U(places.ctypes.data), _U(size), _U(filters.ctypes.data) + shift, view,
            _U(perceived.ctypes.data) + shift, row, view,
        )  # fmt: skip


@kernel
def next_rows(state: Floats, cells: NDArray[np.int32], low: int, end: int, width: int) -> tuple[Any, Any]:
    """Addresses from which and up to which the next tile's cells see what no cell before them saw."""
    first = _U(state.ctypes.data)
    if low >= end:
        return first, first
    row, last = 4 * state.shape[1], cells[_U(min(low + TILE, end) - 1)]
    begins = min(np.int64(cells[_U(low)]) + width, state.shape[0])
    ends = min(np.int64(last) + width + 2, state.shape[0])
    return first + _U(begins * row), first + _U(ends * row)
