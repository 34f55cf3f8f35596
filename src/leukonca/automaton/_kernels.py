"""Compiled inner loops of the CPU engine: one image, one or more threads, no Python objects.

A step visits the firing cells only, in tiles small enough to stay in cache: gather what they perceive, two
matrix products, and exchange the new states with the old ones. What was exchanged is the tape: the backward
pass puts it back, step by step, so that one state and one row per firing cell is all that is ever kept.

Channels of the image that fill whole vectors are no part of the state: what they add is computed once (`drive`).
Channels and hidden units are padded with zeros to whole vectors; padded numbers stay zero throughout.
Inner loops index whole arrays with unsigned numbers: slices would count references, and signed numbers
would be checked for wrapping around, and either keeps the loops from being vectorised (measured: 6 times).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukonca.automaton._firing import firing_cells
from leukonca.automaton._meeting import meet
from leukonca.automaton._perception import filter_gradient, spread_back
from leukonca.automaton._stamped import kernel
from leukonca.automaton._tiles import TILE, Floats, Scratch, next_rows, perceive_tile, product
from leukonca.automaton._vectors import BYTES, LANES

Packed = tuple[Floats, Floats, Floats, Floats]
"""filters [20, C] (18 taps and two biases), w0, b0 [1 or at least HW, hidden], w1; the weights as `cpu` packs them."""

SHARE = 24
"""Threads that share an image begin at multiples of this, so that no block of theirs writes into another's rows."""

MOST_CELLS = 2**31 - 1
"""Cells are counted in 32 bits."""

_U = np.uintp


@kernel
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

    Where the rule's b0 has a row for each cell, these are what `drive` gave for the channels that are no part of state.
    """
    filters, w0, b0, w1 = rule
    perceived, _, hidden, _, _, cells = scratch
    channels, units = filters.shape[1], b0.shape[1]
    driven = b0.shape[0] > 1
    start, turn = 0, 1
    meet(gate, turn, parts)
    for step in range(steps):
        count = firing_cells(seed, step, height, width, limit, cells)
        mine = count * part // parts // SHARE * SHARE
        end = count * (part + 1) // parts // SHARE * SHARE if part + 1 < parts else count
        for low in range(mine, end, TILE):
            size = min(TILE, end - low)
            perceive_tile(state, filters, scratch, low, size, height, width)
            active, offset = (hidden_tape, start + low) if keep else (hidden, 0)
            for i in range(size):
                n = _U(cells[_U(low + i)]) if driven else _U(0)
                for j in range(units):
                    active[_U(offset + i), _U(j)] = b0[n, _U(j)]
            active_row = 4 * active.shape[1]
            active_at = _U(active.ctypes.data) + _U(offset * active_row)
            product(
                size, units // LANES, 3 * channels, perceived.ctypes.data, 4 * perceived.shape[1], 4,
                w0.ctypes.data, 0, active_at, active_row, *next_rows(state, cells, low + size, end, width),
            )  # fmt: skip
            for i in range(size):
                for j in range(units):
                    active[_U(offset + i), _U(j)] = max(active[_U(offset + i), _U(j)], np.float32(0))
            for i in range(size):
                n, t = _U(cells[_U(low + i)]), _U(start + low + i)
                for c in range(channels):
                    tape[t, _U(c)] = state[n, _U(c)]
            product(
                size, channels // LANES, units, active_at, active_row, 4,
                w1.ctypes.data, 0, _U(tape.ctypes.data) + _U((start + low) * 4 * channels), 4 * channels, 0, 0,
            )  # fmt: skip
        turn += 1
        meet(gate, turn, parts)
        for i in range(mine, end):
            n, t = _U(cells[_U(i)]), _U(start + i)
            for c in range(channels):
                old = state[n, _U(c)]
                state[n, _U(c)] = tape[t, _U(c)]
                tape[t, _U(c)] = old
        turn += 1
        meet(gate, turn, parts)
        if keep:
            start += count
        if record.shape[0] > 0 and part == 0:
            for cell in range(height * width):
                for c in range(channels):
                    record[_U(step), _U(cell), _U(c)] = state[_U(cell), _U(c)]


@kernel
def drive(
    image: Floats,
    rule: Packed,
    scratch: Scratch,
    height: int,
    width: int,
    part: int,
    parts: int,
    out: Floats,
) -> None:
    """What channels that never change add to each cell's hidden layer in every step, the bias included.

    image float32 [HW, K] holds these channels, and the rule is theirs; out [HW + 8, hidden]. One of `parts` threads
    does its `part`.
    """
    filters, w0, b0, _ = rule
    perceived, _, _, _, _, cells = scratch
    channels, units, count = filters.shape[1], b0.shape[1], height * width
    first = count * part // parts // SHARE * SHARE
    end = count * (part + 1) // parts // SHARE * SHARE if part + 1 < parts else count
    for cell in range(count):
        cells[_U(cell)] = cell
    for low in range(first, end, TILE):
        size = min(TILE, end - low)
        perceive_tile(image, filters, scratch, low, size, height, width)
        for i in range(size):
            for j in range(units):
                out[_U(low + i), _U(j)] = b0[0, _U(j)]
        row = 4 * out.shape[1]
        product(
            size, units // LANES, 3 * channels, perceived.ctypes.data, 4 * perceived.shape[1], 4,
            w0.ctypes.data, 0, _U(out.ctypes.data) + _U(low * row), row,
            *next_rows(image, cells, low + size, end, width),
        )  # fmt: skip


@kernel
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
    frozen: int,
    out: Packed,
) -> None:
    """Take all steps of one image back.

    state [HW, C] after the last step becomes the first state again; gradient [HW, C] of the loss by the last
    state becomes that by the first state (for the `frozen` first channels, the image: summed over all steps).
    back = (w0, w1) packed for products from the right; change [HW + 8, C + pad] is scratch; out = gradients, added to:
    filters as in `rule`, w0 [3C, hidden], b0 as in `rule`, w1 [hidden, C].
    """
    filters, _, _, _ = rule
    _, w1 = back
    _, _, d_b0, d_w1 = out
    _, _, hidden, d_hidden, _, cells = scratch
    channels, units = filters.shape[1], d_b0.shape[1]
    driven = d_b0.shape[0] > 1
    view = 4 * channels
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
            for c in range(frozen):
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
            product(
                units, channels // LANES, size, hidden.ctypes.data, 4, unit_row, delta, change_row,
                d_w1.ctypes.data, view, 0, 0,
            )  # fmt: skip
            product(
                size, units // LANES, channels, delta, change_row, 4, w1.ctypes.data, 0,
                d_hidden.ctypes.data, unit_row, 0, 0,
            )  # fmt: skip
            for i in range(size):
                n = _U(cells[_U(low + i)]) if driven else _U(0)
                for j in range(units):
                    flows = d_hidden[_U(i), _U(j)] if hidden[_U(i), _U(j)] > 0 else np.float32(0)
                    d_hidden[_U(i), _U(j)] = flows
                    d_b0[n, _U(j)] += flows
            _back_to_state(state, gradient, filters, back[0], scratch, low, size, count, height, width, out)
        end = start


@kernel
def backward_drive(
    image: Floats,
    gradient: Floats,
    rule: Packed,
    back: tuple[Floats, Floats],
    scratch: Scratch,
    height: int,
    width: int,
    by_drive: Floats,
    out: Packed,
) -> None:
    """Take `drive` back.

    by_drive [HW, hidden] is the gradient by what it gave; to gradient [HW, K] that by the image is added, to `out`
    those by the rule, as in `backward`.
    """
    filters, _, _, _ = rule
    _, _, d_b0, _ = out
    _, _, _, d_hidden, _, cells = scratch
    units, count = d_b0.shape[1], height * width
    for cell in range(count):
        cells[_U(cell)] = cell
    for low in range(0, count, TILE):
        size = min(TILE, count - low)
        for i in range(size):
            for j in range(units):
                d_hidden[_U(i), _U(j)] = by_drive[_U(low + i), _U(j)]
                d_b0[0, _U(j)] += by_drive[_U(low + i), _U(j)]
        _back_to_state(image, gradient, filters, back[0], scratch, low, size, count, height, width, out)


@kernel
def _back_to_state(
    state: Floats,
    gradient: Floats,
    filters: Floats,
    w0: Floats,
    scratch: Scratch,
    low: int,
    size: int,
    count: int,
    height: int,
    width: int,
    out: Packed,
) -> None:
    """From the gradient by a tile's hidden layer, in scratch, to those by w0, filters and what the tile perceived."""
    d_filters, d_w0, _, _ = out
    perceived, d_perceived, hidden, d_hidden, places, cells = scratch
    channels, units = filters.shape[1], d_w0.shape[1]
    row, view, unit_row = 4 * perceived.shape[1], 4 * channels, 4 * hidden.shape[1]
    perceive_tile(state, filters, scratch, low, size, height, width)
    product(
        3 * channels, units // LANES, size, perceived.ctypes.data, 4, row, d_hidden.ctypes.data, unit_row,
        d_w0.ctypes.data, 4 * units, *next_rows(state, cells, low + size, count, width),
    )  # fmt: skip
    for i in range(size):
        for c in range(3 * channels):
            d_perceived[_U(i), _U(c)] = 0
    product(
        size, 3 * channels // LANES, units, d_hidden.ctypes.data, unit_row, 4, w0.ctypes.data, 0,
        d_perceived.ctypes.data, row, *next_rows(gradient, cells, low + size, count, width),
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
