"""Compiled inner loops of the CPU engine: one image, one or more threads, no Python objects.

A step visits the firing cells only, in tiles small enough to stay in cache: gather what they perceive, two
matrix products, and exchange the new states with the old ones. What was exchanged is the tape: the backward
pass puts it back, step by step, so that one state and one row per firing cell is all that is ever kept.

Channels and hidden units are padded with zeros to whole vectors; padded numbers stay zero throughout.
Inner loops index whole arrays with unsigned numbers: slices would count references, and signed numbers
would be checked for wrapping around, and either keeps the loops from being vectorised (measured: 6 times).
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from leukonca.automaton import _vectors
from leukonca.automaton._compiling import compiled
from leukonca.automaton._vectors import (
    BYTES,
    LANES,
    WIDE,
    arrive,
    arrived,
    block_2x1,
    block_2x4,
    block_6x1,
    block_6x4,
    block_8x1,
    block_8x2,
    block_8x3,
    fetch,
    filter_gradient,
    perceive,
    spread_back,
)
from leukonca.automaton.fire import FIRST_FACTOR, GOLDEN, SECOND_FACTOR

F = TypeVar("F", bound=Callable[..., Any])
Floats = NDArray[np.float32]
Packed = tuple[Floats, Floats, Floats, Floats]
"""filters [20, C] (18 taps and two biases), w0, b0 [hidden], w1; the weights as `cpu` packs them."""

Scratch = tuple[Floats, Floats, Floats, Floats, NDArray[np.int64], NDArray[np.int32]]
"""One thread's memory: perceived and its gradient [TILE, 3C + pad], hidden and its gradient [TILE, hidden + pad],
places [TILE, 5], cells [HW + 1]."""

TILE = 72
"""Cells worked on together: a multiple of every block's rows; their perceptions fit into a core's cache."""

LARGEST_BLOCK = 24
"""Vectors that a block computes, at most."""

SPARE = 8
"""Rows that arrays have beyond their last one, where blocks may write what nobody reads."""

SHARE = 24
"""Threads that share an image begin at multiples of this, so that no block of theirs writes into another's rows."""

MOST_CELLS = 2**31 - 1
"""Cells are counted in 32 bits."""

_U = np.uintp

LOOKS = 2000
"""How often a thread looks for the others before it offers them its processor."""

_yield_processor: Any = (
    numba.njit(lambda: 0)  # there no image is shared
    if os.name == "nt"
    else types.ExternalFunction("sched_yield", types.int32())
)


def _stamp() -> str:
    """Numba's cache looks at this file's date and size alone; the instructions it is compiled with, how weights are
    laid out for them, and text of the same date and size must count too."""
    try:
        texts = [Path(name).read_bytes() for name in (__file__, _vectors.__file__)]
    except OSError:
        texts = [b"unknown"]
    return hashlib.sha256(b"".join([*texts, str(WIDE).encode()])).hexdigest()[:8]


_STAMP = _stamp()


def _compiled(function: F) -> F:
    function.__qualname__ += f"_{_STAMP}"
    return compiled(function, nogil=True, fastmath={"contract", "reassoc", "nsz"}, boundscheck=False)


@_compiled
def _fold(running: Any, value: Any) -> Any:
    h = running ^ np.uint32(value + np.uint32(GOLDEN))
    h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(FIRST_FACTOR))
    h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(SECOND_FACTOR))
    return np.uint32(h ^ (h >> np.uint32(16)))


@_compiled
def firing_cells(seed: Any, step: int, height: int, width: int, limit: Any, cells: NDArray[np.int32]) -> int:
    """Write the flat indices of the firing cells, in order, into `cells` [HW + 1]; return how many."""
    count = 0
    run = _fold(_fold(np.uint32(0), np.uint32(seed)), np.uint32(step))
    for row in range(height):
        in_row = _fold(run, np.uint32(row))
        for column in range(width):
            cells[_U(count)] = row * width + column  # overwritten unless it fires: cheaper than a branch
            count += int(np.uint64(_fold(in_row, np.uint32(column))) < limit)
    return count


@_compiled
def count_firing(seed: Any, steps: int, height: int, width: int, limit: Any) -> int:
    """How many cells fire over all steps together."""
    total = 0
    cells = np.empty(height * width + 1, np.int32)
    for step in range(steps):
        total += firing_cells(seed, step, height, width, limit, cells)
    return total


@_compiled
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


@_compiled
def _product(
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


@_compiled
def _perceive_tile(
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


@_compiled
def _next_rows(state: Floats, cells: NDArray[np.int32], low: int, end: int, width: int) -> tuple[Any, Any]:
    """Addresses from which and up to which the next tile's cells see what no cell before them saw."""
    first = _U(state.ctypes.data)
    if low >= end:
        return first, first
    row, last = 4 * state.shape[1], cells[_U(min(low + TILE, end) - 1)]
    begins = min(np.int64(cells[_U(low)]) + width, state.shape[0])
    ends = min(np.int64(last) + width + 2, state.shape[0])
    return first + _U(begins * row), first + _U(ends * row)


@_compiled
def _meet(gate: NDArray[np.int64], turn: int, parts: int) -> None:
    """Wait until all parts have come here for the `turn`-th time, or one of them has failed (gate[8])."""
    if parts == 1:
        return
    counter, failed = _U(gate.ctypes.data), _U(gate.ctypes.data) + _U(64)
    arrive(counter)
    looks = 0
    while arrived(counter) < turn * parts and arrived(failed) == 0:
        looks += 1
        if looks > LOOKS:  # the other thread may need this processor
            _yield_processor()


@_compiled
def forward(
    state: Floats,
    rule: Packed,
    scratch: Scratch,
    height: int,
    width: int,
    steps: int,
    seed: Any,
    limit: Any,
    tape: Floats,
    hidden_tape: Floats,
    keep: bool,
    record: Floats,
    part: int,
    parts: int,
    gate: NDArray[np.int64],
) -> None:
    """Run all steps of one image in place; `parts` threads do so together, each calling this with its own `part`.

    state float32 [HW, C]. tape [firing + 8, C] and hidden_tape [firing + 8, hidden] keep every step's exchanged
    states and hidden layers if `keep`; otherwise the first holds one step, and the second is not used. record
    [steps or 0, HW, C] takes the state after each step. Scratch is the thread's own; all else is shared.
    """
    filters, w0, b0, w1 = rule
    perceived, _, hidden, _, _, cells = scratch
    channels, units = filters.shape[1], b0.shape[0]
    start, turn = 0, 1
    _meet(gate, turn, parts)
    for step in range(steps):
        count = firing_cells(seed, step, height, width, limit, cells)
        mine = count * part // parts // SHARE * SHARE
        end = count * (part + 1) // parts // SHARE * SHARE if part + 1 < parts else count
        for low in range(mine, end, TILE):
            size = min(TILE, end - low)
            _perceive_tile(state, filters, scratch, low, size, height, width)
            active, offset = (hidden_tape, start + low) if keep else (hidden, 0)
            for i in range(size):
                for j in range(units):
                    active[_U(offset + i), _U(j)] = b0[_U(j)]
            active_row = 4 * active.shape[1]
            active_at = _U(active.ctypes.data) + _U(offset * active_row)
            _product(
                size, units // LANES, 3 * channels, perceived.ctypes.data, 4 * perceived.shape[1], 4,
                w0.ctypes.data, 0, active_at, active_row, *_next_rows(state, cells, low + size, end, width),
            )  # fmt: skip
            for i in range(size):
                for j in range(units):
                    active[_U(offset + i), _U(j)] = max(active[_U(offset + i), _U(j)], np.float32(0))
            for i in range(size):
                n, t = _U(cells[_U(low + i)]), _U(start + low + i)
                for c in range(channels):
                    tape[t, _U(c)] = state[n, _U(c)]
            _product(
                size, channels // LANES, units, active_at, active_row, 4,
                w1.ctypes.data, 0, _U(tape.ctypes.data) + _U((start + low) * 4 * channels), 4 * channels, 0, 0,
            )  # fmt: skip
        turn += 1
        _meet(gate, turn, parts)
        for i in range(mine, end):
            n, t = _U(cells[_U(i)]), _U(start + i)
            for c in range(channels):
                old = state[n, _U(c)]
                state[n, _U(c)] = tape[t, _U(c)]
                tape[t, _U(c)] = old
        turn += 1
        _meet(gate, turn, parts)
        if keep:
            start += count
        if record.shape[0] > 0 and part == 0:
            for cell in range(height * width):
                for c in range(channels):
                    record[_U(step), _U(cell), _U(c)] = state[_U(cell), _U(c)]


@_compiled
def backward(
    state: Floats,
    gradient: Floats,
    rule: Packed,
    back: tuple[Floats, Floats],
    scratch: Scratch,
    change: Floats,
    height: int,
    width: int,
    steps: int,
    seed: Any,
    limit: Any,
    tape: Floats,
    hidden_tape: Floats,
    out: Packed,
) -> None:
    """Take all steps of one image back.

    state [HW, C] after the last step becomes the first state again; gradient [HW, C] of the loss by the last
    state becomes that by the first state (for the image channels: summed over all steps). back = (w0, w1) packed for
    products from the right; change [HW + 8, C + pad] is scratch; out = gradients, added to: filters as in `rule`,
    w0 [3C, hidden], b0, w1 [hidden, C].
    """
    filters, _, _, _ = rule
    w0, w1 = back
    d_filters, d_w0, d_b0, d_w1 = out
    perceived, d_perceived, hidden, d_hidden, places, cells = scratch
    channels, units = filters.shape[1], d_b0.shape[0]
    row, view = 4 * perceived.shape[1], 4 * channels
    unit_row, change_row = 4 * hidden.shape[1], 4 * change.shape[1]
    end = 0
    for step in range(steps):
        end += firing_cells(seed, step, height, width, limit, cells)
    for step in range(steps - 1, -1, -1):
        count = firing_cells(seed, step, height, width, limit, cells)
        start = end - count
        for i in range(count):
            n, t = _U(cells[_U(i)]), _U(start + i)
            for c in range(channels):
                state[n, _U(c)] = tape[t, _U(c)]
            for c in range(channels):
                change[_U(i), _U(c)] = gradient[n, _U(c)]
            for c in range(3):
                change[_U(i), _U(c)] = 0
        for low in range(0, count, TILE):
            size = min(TILE, count - low)
            delta = _U(change.ctypes.data) + _U(low * change_row)
            for i in range(size):
                t = _U(start + low + i)
                for j in range(units):
                    hidden[_U(i), _U(j)] = hidden_tape[t, _U(j)]
                for j in range(units):
                    d_hidden[_U(i), _U(j)] = 0
            _product(
                units, channels // LANES, size, hidden.ctypes.data, 4, unit_row, delta, change_row,
                d_w1.ctypes.data, view, 0, 0,
            )  # fmt: skip
            _product(
                size, units // LANES, channels, delta, change_row, 4, w1.ctypes.data, 0,
                d_hidden.ctypes.data, unit_row, 0, 0,
            )  # fmt: skip
            for i in range(size):
                for j in range(units):
                    flows = d_hidden[_U(i), _U(j)] if hidden[_U(i), _U(j)] > 0 else np.float32(0)
                    d_hidden[_U(i), _U(j)] = flows
                    d_b0[_U(j)] += flows
            _perceive_tile(state, filters, scratch, low, size, height, width)
            _product(
                3 * channels, units // LANES, size, perceived.ctypes.data, 4, row, d_hidden.ctypes.data, unit_row,
                d_w0.ctypes.data, 4 * units, *_next_rows(state, cells, low + size, count, width),
            )  # fmt: skip
            for i in range(size):
                for c in range(3 * channels):
                    d_perceived[_U(i), _U(c)] = 0
            _product(
                size, 3 * channels // LANES, units, d_hidden.ctypes.data, unit_row, 4, w0.ctypes.data, 0,
                d_perceived.ctypes.data, row, *_next_rows(gradient, cells, low + size, count, width),
            )  # fmt: skip
            for vector in range(channels // LANES):
                shift = _U(vector * BYTES)
                at = _U(places.ctypes.data)
                seen = _U(d_perceived.ctypes.data) + shift
                spread_back(
                    _U(gradient.ctypes.data) + shift, at, _U(size), _U(filters.ctypes.data) + shift, _U(view),
                    seen, _U(row), _U(view),
                )  # fmt: skip
                filter_gradient(
                    _U(state.ctypes.data) + shift, at, _U(size), seen, _U(row), _U(view),
                    _U(d_filters.ctypes.data) + shift, _U(view),
                )  # fmt: skip
        end = start
