"""Compiled inner loops of the CPU engine: one image, one thread, no Python objects.

A step visits the firing cells only, in tiles small enough to stay in cache: gather what they perceive, two
matrix products, and exchange the new states with the old ones. What was exchanged is the tape: the backward
pass puts it back, step by step, so that one state and one row per firing cell is all that is ever kept.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np

from leukonca.automaton.fire import FIRST_FACTOR, GOLDEN, SECOND_FACTOR

F = TypeVar("F", bound=Callable[..., Any])

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
def _fold(running, value):  # type: ignore[no-untyped-def]
    h = running ^ np.uint32(value + np.uint32(GOLDEN))
    h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(FIRST_FACTOR))
    h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(SECOND_FACTOR))
    return np.uint32(h ^ (h >> np.uint32(16)))


@_compiled
def firing_cells(seed, step, height, width, limit, cells):  # type: ignore[no-untyped-def]
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
def count_firing(seed, steps, height, width, limit):  # type: ignore[no-untyped-def]
    """How many cells fire over all steps together."""
    total = 0
    for step in range(steps):
        run = _fold(_fold(np.uint32(0), np.uint32(seed)), np.uint32(step))
        for row in range(height):
            in_row = _fold(run, np.uint32(row))
            for column in range(width):
                if np.uint64(_fold(in_row, np.uint32(column))) < limit:
                    total += 1
    return total


@_compiled
def _neighbours(cell, height, width, around):  # type: ignore[no-untyped-def]
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
def _add_two_products(first, second, weight_a, weight_b, values):  # type: ignore[no-untyped-def]
    for c in range(values.shape[0]):
        first[c] += weight_a[c] * values[c]
        second[c] += weight_b[c] * values[c]


@_compiled
def _add_sum_of_products(target, a, b, c, d):  # type: ignore[no-untyped-def]
    for i in range(target.shape[0]):
        target[i] += a[i] * b[i] + c[i] * d[i]


@_compiled
def _perceive(state, kernels, kernel_bias, cells, height, width, perceived, around):  # type: ignore[no-untyped-def]
    """state [HW, C], kernels [2, 9, C] -> perceived [len(cells), 3C]."""
    channels = state.shape[1]
    for i in range(cells.shape[0]):
        _neighbours(cells[i], height, width, around)
        out = perceived[i]
        out[:channels] = state[cells[i]]
        first = out[channels : 2 * channels]
        second = out[2 * channels :]
        first[:] = kernel_bias[0]
        second[:] = kernel_bias[1]
        for n in range(9):
            _add_two_products(first, second, kernels[0, n], kernels[1, n], state[around[n]])


@_compiled
def forward(state, rule, height, width, steps, seed, limit, tape, hidden_tape, keep, record):  # type: ignore[no-untyped-def]
    """Run all steps of one image in place.

    state float32 [HW, C]; rule = (kernels [2, 9, C], kernel_bias [2, C], w0 [3C, hidden], b0 [hidden], w1 [hidden, C]).
    tape [firing, C] and hidden_tape [firing, hidden] keep every step's exchanged states and hidden layers if
    `keep`; otherwise they hold one step. record [steps or 0, HW, C] takes the state after each step.
    """
    kernels, kernel_bias, w0, b0, w1 = rule
    channels, hidden = state.shape[1], w0.shape[1]
    cells = np.empty(height * width, np.int32)
    around = np.empty(9, np.int32)
    perceived = np.empty((TILE, 3 * channels), np.float32)
    start = 0
    for step in range(steps):
        count = firing_cells(seed, step, height, width, limit, cells)
        if not keep:
            start = 0
        for low in range(0, count, TILE):
            size = min(TILE, count - low)
            tile = cells[low : low + size]
            _perceive(state, kernels, kernel_bias, tile, height, width, perceived, around)
            active = hidden_tape[start + low : start + low + size] if keep else hidden_tape[:size]
            np.dot(perceived[:size], w0, active)
            for i in range(size):
                for j in range(hidden):
                    active[i, j] = max(active[i, j] + b0[j], np.float32(0))
            new = tape[start + low : start + low + size]
            np.dot(active, w1, new)
            for i in range(size):
                old = state[tile[i]]
                for c in range(channels):
                    new[i, c] += old[c]
        for i in range(count):
            fresh, old = tape[start + i], state[cells[i]]
            for c in range(channels):
                kept = old[c]
                old[c] = fresh[c]
                fresh[c] = kept
        start += count
        if record.shape[0] > 0:
            record[step] = state
    return start


@_compiled
def backward(state, gradient, rule, transposed, height, width, steps, seed, limit, tape, hidden_tape, out):  # type: ignore[no-untyped-def]
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
    perceived = np.empty((TILE, 3 * channels), np.float32)
    d_perceived = np.empty((TILE, 3 * channels), np.float32)
    d_hidden = np.empty((TILE, hidden), np.float32)
    change = np.empty((height * width, channels), np.float32)
    product_w0 = np.empty((3 * channels, hidden), np.float32)
    product_w1 = np.empty((hidden, channels), np.float32)
    end = tape.shape[0]
    for step in range(steps - 1, -1, -1):
        count = firing_cells(seed, step, height, width, limit, cells)
        start = end - count
        for i in range(count):
            state[cells[i]] = tape[start + i]
            change[i] = gradient[cells[i]]
            change[i, :3] = 0
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
                    value = d_hidden[i, j] if active[i, j] > 0 else np.float32(0)
                    d_hidden[i, j] = value
                    d_b0[j] += value
            _perceive(state, kernels, kernel_bias, tile, height, width, perceived, around)
            np.dot(perceived[:size].T, d_hidden[:size], product_w0)
            d_w0 += product_w0
            np.dot(d_hidden[:size], w0, d_perceived[:size])
            _perceive_backward(
                state, gradient, kernels, tile, height, width, d_perceived, d_kernels, d_kernel_bias, around
            )
        end = start


@_compiled
def _perceive_backward(state, gradient, kernels, cells, height, width, d_perceived, d_kernels, d_kernel_bias, around):  # type: ignore[no-untyped-def]
    channels = state.shape[1]
    for i in range(cells.shape[0]):
        _neighbours(cells[i], height, width, around)
        row = d_perceived[i]
        first = row[channels : 2 * channels]
        second = row[2 * channels :]
        own = gradient[cells[i]]
        for c in range(channels):
            own[c] += row[c]
            d_kernel_bias[0, c] += first[c]
            d_kernel_bias[1, c] += second[c]
        for n in range(9):
            _add_sum_of_products(gradient[around[n]], kernels[0, n], first, kernels[1, n], second)
            _add_two_products(d_kernels[0, n], d_kernels[1, n], first, second, state[around[n]])
