"""Compiled inner loops of the CPU engine: one image, one thread, no Python objects.

A step visits the firing cells only, in tiles small enough to stay in cache: gather what they perceive, two
matrix products, and exchange the new states with the old ones. What was exchanged is the tape: the backward
pass puts it back, step by step, so that one state and one row per firing cell is all that is ever kept.

Inner loops index whole arrays with unsigned numbers: slices would count references, and signed numbers
would be checked for wrapping around, and either keeps the loops from being vectorised (measured: 6 times).
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

from leukonca.automaton.fire import FIRST_FACTOR, GOLDEN, SECOND_FACTOR

F = TypeVar("F", bound=Callable[..., Any])
Floats = NDArray[np.float32]
Indices = NDArray[np.int32]
Packed = tuple[Floats, Floats, Floats, Floats, Floats]
"""kernels [2, 9, C], kernel_bias [2, C], w0 [3C, hidden], b0 [hidden], w1 [hidden, C]."""

TILE = 128


def _compiled(function: F) -> F:
    options: dict[str, Any] = {
        "nogil": True,
        "fastmath": {"contract", "reassoc", "nsz"},
        "boundscheck": False,
    }
    try:
        compiled: F = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder at all is writable for the cache: compile in every process
        compiled = numba.njit(**options)(function)
    return compiled


@_compiled
def _fold(running: Any, value: Any) -> Any:
    h = running ^ np.uint32(value + np.uint32(GOLDEN))
    h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(FIRST_FACTOR))
    h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(SECOND_FACTOR))
    return np.uint32(h ^ (h >> np.uint32(16)))


@_compiled
def firing_cells(seed: Any, step: int, height: int, width: int, limit: Any, cells: Indices) -> int:
    """Write the flat indices of the firing cells, in order, into `cells`; return how many."""
    count = 0
    run = _fold(_fold(np.uint32(0), np.uint32(seed)), np.uint32(step))
    for row in range(height):
        in_row = _fold(run, np.uint32(row))
        for column in range(width):
            if np.uint64(_fold(in_row, np.uint32(column))) < limit:
                cells[count] = row * width + column
                count += 1
    return count


@_compiled
def count_firing(seed: Any, steps: int, height: int, width: int, limit: Any) -> int:
    """How many cells fire over all steps together."""
    total = 0
    cells = np.empty(height * width, np.int32)
    for step in range(steps):
        total += firing_cells(seed, step, height, width, limit, cells)
    return total


@_compiled
def _find_neighbours(cell: Any, height: int, width: int, around: Indices) -> None:
    """Flat indices of the 3 x 3 neighbourhood, reflected at the borders."""
    row, column = cell // width, cell % width
    above = row - 1 if row > 0 else 1
    below = row + 1 if row < height - 1 else height - 2
    left = column - 1 if column > 0 else 1
    right = column + 1 if column < width - 1 else width - 2
    around[0], around[1], around[2] = above * width + left, above * width + column, above * width + right
    around[3], around[4], around[5] = row * width + left, cell, row * width + right
    around[6], around[7], around[8] = below * width + left, below * width + column, below * width + right


@_compiled
def _perceive(
    state: Floats,
    kernels: Floats,
    kernel_bias: Floats,
    cells: Indices,
    height: int,
    width: int,
    perceived: Floats,
    around: Indices,
) -> None:
    """state [HW, C], kernels [2, 9, C] -> perceived [len(cells), 3, C]."""
    channels = state.shape[1]
    for i in range(cells.shape[0]):
        _find_neighbours(cells[i], height, width, around)
        own = np.uintp(cells[i])
        for c in range(channels):
            perceived[i, 0, c] = state[own, c]
        for view in range(2):
            for c in range(channels):
                perceived[i, view + 1, c] = kernel_bias[view, c]
            # Three neighbours at a time: more streams would exceed what the compiler checks for overlap.
            for row in range(3):
                n0 = np.uintp(around[3 * row])
                n1 = np.uintp(around[3 * row + 1])
                n2 = np.uintp(around[3 * row + 2])
                for c in range(channels):
                    perceived[i, view + 1, c] += (
                        kernels[view, 3 * row, c] * state[n0, c]
                        + kernels[view, 3 * row + 1, c] * state[n1, c]
                        + kernels[view, 3 * row + 2, c] * state[n2, c]
                    )


@_compiled
def forward(
    state: Floats,
    rule: Packed,
    height: int,
    width: int,
    steps: int,
    seed: Any,
    limit: Any,
    tape: Floats,
    hidden_tape: Floats,
    keep: bool,
    record: Floats,
) -> None:
    """Run all steps of one image in place.

    state float32 [HW, C]. tape [firing, C] and hidden_tape [firing, hidden] keep every step's exchanged states and
    hidden layers if `keep`; otherwise they hold one step and one tile. record [steps or 0, HW, C] takes the state
    after each step.
    """
    kernels, kernel_bias, w0, b0, w1 = rule
    channels, hidden = state.shape[1], w0.shape[1]
    cells = np.empty(height * width, np.int32)
    around = np.empty(9, np.int32)
    perceived = np.empty((TILE, 3, channels), np.float32)
    rows = perceived.reshape(TILE, 3 * channels)
    start = 0
    for step in range(steps):
        count = firing_cells(seed, step, height, width, limit, cells)
        for low in range(0, count, TILE):
            size = min(TILE, count - low)
            tile = cells[low : low + size]
            _perceive(state, kernels, kernel_bias, tile, height, width, perceived, around)
            active = hidden_tape[start + low : start + low + size] if keep else hidden_tape[:size]
            np.dot(rows[:size], w0, active)
            for i in range(size):
                for j in range(hidden):
                    active[i, j] = max(active[i, j] + b0[j], np.float32(0))
            new = tape[start + low : start + low + size]
            np.dot(active, w1, new)
            for i in range(size):
                n = np.uintp(tile[i])
                for c in range(channels):
                    new[i, c] += state[n, c]
        for i in range(count):
            n, t = np.uintp(cells[i]), np.uintp(start + i)
            for c in range(channels):
                old = state[n, c]
                state[n, c] = tape[t, c]
                tape[t, c] = old
        if keep:
            start += count
        if record.shape[0] > 0:
            record[step] = state


@_compiled
def backward(
    state: Floats,
    gradient: Floats,
    rule: Packed,
    transposed: tuple[Floats, Floats],
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
    state becomes that by the first state (for the image channels: summed over all steps).
    transposed = (w0 [hidden, 3C], w1 [C, hidden]); out = gradients, added to, shaped like `rule`.
    """
    kernels, kernel_bias, _, _, _ = rule
    w0, w1 = transposed
    d_kernels, d_kernel_bias, d_w0, d_b0, d_w1 = out
    channels, hidden = state.shape[1], w0.shape[0]
    cells = np.empty(height * width, np.int32)
    around = np.empty(9, np.int32)
    perceived = np.empty((TILE, 3, channels), np.float32)
    rows = perceived.reshape(TILE, 3 * channels)
    d_perceived = np.empty((TILE, 3, channels), np.float32)
    d_rows = d_perceived.reshape(TILE, 3 * channels)
    d_hidden = np.empty((TILE, hidden), np.float32)
    change = np.empty((height * width, channels), np.float32)
    product_w0 = np.empty((3 * channels, hidden), np.float32)
    product_w1 = np.empty((hidden, channels), np.float32)
    end = tape.shape[0]
    for step in range(steps - 1, -1, -1):
        count = firing_cells(seed, step, height, width, limit, cells)
        start = end - count
        for i in range(count):
            n, t = np.uintp(cells[i]), np.uintp(start + i)
            for c in range(channels):
                state[n, c] = tape[t, c]
            for c in range(channels):
                change[i, c] = gradient[n, c]
            for c in range(3):
                change[i, c] = 0
        for low in range(0, count, TILE):
            size = min(TILE, count - low)
            tile = cells[low : low + size]
            active = hidden_tape[start + low : start + low + size]
            delta = change[low : low + size]
            np.dot(active.T, delta, product_w1)
            d_w1 += product_w1
            np.dot(delta, w1, d_hidden[:size])
            for i in range(size):
                for j in range(hidden):
                    d_hidden[i, j] = d_hidden[i, j] if active[i, j] > 0 else np.float32(0)
                for j in range(hidden):
                    d_b0[j] += d_hidden[i, j]
            _perceive(state, kernels, kernel_bias, tile, height, width, perceived, around)
            np.dot(rows[:size].T, d_hidden[:size], product_w0)
            d_w0 += product_w0
            np.dot(d_hidden[:size], w0, d_rows[:size])
            _perceive_backward(
                state, gradient, kernels, tile, height, width, d_perceived, d_kernels, d_kernel_bias, around
            )
        end = start


@_compiled
def _perceive_backward(
    state: Floats,
    gradient: Floats,
    kernels: Floats,
    cells: Indices,
    height: int,
    width: int,
    d_perceived: Floats,
    d_kernels: Floats,
    d_kernel_bias: Floats,
    around: Indices,
) -> None:
    channels = state.shape[1]
    for i in range(cells.shape[0]):
        _find_neighbours(cells[i], height, width, around)
        own = np.uintp(cells[i])
        for c in range(channels):
            gradient[own, c] += d_perceived[i, 0, c]
        for view in range(2):
            for c in range(channels):
                d_kernel_bias[view, c] += d_perceived[i, view + 1, c]
        for m in range(9):
            n = np.uintp(around[m])
            for c in range(channels):
                gradient[n, c] += kernels[0, m, c] * d_perceived[i, 1, c] + kernels[1, m, c] * d_perceived[i, 2, c]
            for c in range(channels):
                d_kernels[0, m, c] += d_perceived[i, 1, c] * state[n, c]
            for c in range(channels):
                d_kernels[1, m, c] += d_perceived[i, 2, c] * state[n, c]
