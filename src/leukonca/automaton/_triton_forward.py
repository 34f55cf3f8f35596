"""One step of the automaton for Triton: tiles of firing cells, their hidden layer never leaving the chip."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

import os

import triton
import triton.language as tl

INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")
"""Triton's interpreter cannot multiply bfloat16: there, numbers are rounded to it and multiplied as float32."""


@triton.jit
def product(left, right, total, PRECISION: tl.constexpr):
    """total + left @ right, float32; as bfloat16 matrices, or as float32 ones in Triton's input precision."""
    if PRECISION == "bf16":
        left = left.to(tl.bfloat16)
        right = right.to(tl.bfloat16)
        if INTERPRETED:
            total += tl.dot(left.to(tl.float32), right.to(tl.float32))
        else:
            total = tl.dot(left, right, total)
    else:
        total = tl.dot(left.to(tl.float32), right.to(tl.float32), total, input_precision=PRECISION)
    return total


@triton.jit
def row_of(where, cell, up, left, height, width):
    """The table's row of the neighbour at that distance; the border reflects, its own cells not repeated."""
    place = cell % (height * width)
    row = place // width + up
    column = place % width + left
    row = tl.where(row < 0, 1, tl.where(row >= height, height - 2, row))
    column = tl.where(column < 0, 1, tl.where(column >= width, width - 2, column))
    return tl.load(where + (cell - place + row * width + column)).to(tl.int64)


@triton.jit
def _look(first, second, seen, taps, tap, CHANNELS: tl.constexpr):
    first += seen * tl.load(taps + tap * CHANNELS).to(tl.float32)[None, :]
    second += seen * tl.load(taps + (9 + tap) * CHANNELS).to(tl.float32)[None, :]
    return first, second


@triton.jit
def perceive(table, where, cell, channel, kernels, kernel_bias, height, width, CHANNELS: tl.constexpr):
    """What the cells see of some channels: themselves, first view, second view; each float32 [cells, channels]."""
    taps = kernels + channel
    at = table + channel[None, :]
    first = tl.zeros([cell.shape[0], channel.shape[0]], tl.float32) + tl.load(kernel_bias + channel)[None, :]
    second = tl.zeros_like(first) + tl.load(kernel_bias + CHANNELS + channel)[None, :]
    # Not unrolled over the rows: nine loads in flight would need more registers than there are.
    for up in range(-1, 2, 2):
        for left in tl.static_range(-1, 2):
            seen = tl.load(at + row_of(where, cell, up, left, height, width)[:, None] * CHANNELS).to(tl.float32)
            first, second = _look(first, second, seen, taps, 3 * up + left + 4, CHANNELS)
    seen = tl.load(at + row_of(where, cell, 0, -1, height, width)[:, None] * CHANNELS).to(tl.float32)
    first, second = _look(first, second, seen, taps, 3, CHANNELS)
    own = tl.load(at + tl.load(where + cell).to(tl.int64)[:, None] * CHANNELS).to(tl.float32)
    first, second = _look(first, second, own, taps, 4, CHANNELS)
    seen = tl.load(at + row_of(where, cell, 0, 1, height, width)[:, None] * CHANNELS).to(tl.float32)
    first, second = _look(first, second, seen, taps, 5, CHANNELS)
    return own, first, second


@triton.jit
def hidden_sums(
    table, where, cell, kernels, kernel_bias, w0, b0, height, width, unit,
    CHANNELS: tl.constexpr, HIDDEN: tl.constexpr, BLOCK_CHANNELS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """W0 p + b0 for some hidden units: float32 [cells, units]; w0 is [3, CHANNELS, HIDDEN]."""
    sums = tl.zeros([cell.shape[0], unit.shape[0]], tl.float32) + tl.load(b0 + unit)[None, :]
    for block in range(CHANNELS // BLOCK_CHANNELS):
        channel = block * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
        own, first, second = perceive(table, where, cell, channel, kernels, kernel_bias, height, width, CHANNELS)
        weights = w0 + channel[:, None] * HIDDEN + unit[None, :]
        sums = product(own, tl.load(weights), sums, PRECISION)
        sums = product(first, tl.load(weights + CHANNELS * HIDDEN), sums, PRECISION)
        sums = product(second, tl.load(weights + 2 * CHANNELS * HIDDEN), sums, PRECISION)
    return sums


@triton.jit(do_not_specialize=["step"])
def advance(
    table, where, cells, counts, starts, kernels, kernel_bias, w0, b0, w1, step, total, stride, height, width,
    CHANNELS: tl.constexpr, HIDDEN: tl.constexpr, BLOCK_CELLS: tl.constexpr, BLOCK_CHANNELS: tl.constexpr,
    BLOCK_HIDDEN: tl.constexpr, LOG: tl.constexpr, RESIDENT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One step: a new row for every firing cell. Each program takes every so many-th tile of firing cells.

    RESIDENT: all channels and all hidden units are one block each, and the weights stay on the chip from tile to tile.
    """
    where += step.to(tl.int64) * stride
    cells += step.to(tl.int64) * stride
    fired = tl.load(counts + step)
    start = tl.load(starts + step)
    channels = tl.arange(0, BLOCK_CHANNELS)
    units = tl.arange(0, BLOCK_HIDDEN)
    if RESIDENT:
        weights = w0 + channels[:, None] * HIDDEN + units[None, :]
        by_own = tl.load(weights)
        by_first = tl.load(weights + CHANNELS * HIDDEN)
        by_second = tl.load(weights + 2 * CHANNELS * HIDDEN)
        by_hidden = tl.load(w1 + units[:, None] * CHANNELS + channels[None, :])
        bias = tl.load(b0 + units)
    for tile in range(tl.program_id(0), tl.cdiv(fired, BLOCK_CELLS), tl.num_programs(0)):
        rank = tile * BLOCK_CELLS + tl.arange(0, BLOCK_CELLS)
        live = rank < fired
        cell = tl.load(cells + rank, mask=live, other=0)
        old = tl.load(where + cell).to(tl.int64)
        other = tl.where(old < total, old + total, old - total)
        new = (start + rank).to(tl.int64) if LOG else other
        if RESIDENT:
            own, first, second = perceive(table, where, cell, channels, kernels, kernel_bias, height, width, CHANNELS)
            sums = tl.zeros([BLOCK_CELLS, BLOCK_HIDDEN], tl.float32) + bias[None, :]
            sums = product(own, by_own, sums, PRECISION)
            sums = product(first, by_first, sums, PRECISION)
            sums = product(second, by_second, sums, PRECISION)
            own = product(tl.maximum(sums, 0.0), by_hidden, own, PRECISION)
            to = table + new[:, None] * CHANNELS + channels[None, :]
            tl.store(to, own.to(table.dtype.element_ty), mask=live[:, None])
        else:
            for part in range(HIDDEN // BLOCK_HIDDEN):
                unit = part * BLOCK_HIDDEN + units
                sums = hidden_sums(
                    table, where, cell, kernels, kernel_bias, w0, b0, height, width, unit,
                    CHANNELS, HIDDEN, BLOCK_CHANNELS, PRECISION,
                )  # fmt: skip
                hidden = tl.maximum(sums, 0.0)
                so_far = tl.where(part == 0, old, new)
                for block in range(CHANNELS // BLOCK_CHANNELS):
                    channel = block * BLOCK_CHANNELS + channels
                    at = table + so_far[:, None] * CHANNELS + channel[None, :]
                    state = tl.load(at, mask=live[:, None], other=0.0).to(tl.float32)
                    weights = tl.load(w1 + unit[:, None] * CHANNELS + channel[None, :])
                    state = product(hidden, weights, state, PRECISION)
                    to = table + new[:, None] * CHANNELS + channel[None, :]
                    tl.store(to, state.to(table.dtype.element_ty), mask=live[:, None])
                tl.debug_barrier()  # what one thread stored, another may load for the next part
