"""The backward pass of one step for Triton, in three kernels; nothing is added atomically, so the bits repeat.

1. `through_hidden`: firing cells again perceive and compute their hidden layer; the gradient flows back through both
   layers to what they perceived.
2. `to_weights`: products of perception and hidden layer with those gradients, summed over the firing cells.
3. `to_states`: every cell collects from the firing cells that saw it, and sums the gradients of the depthwise kernels.

Sums over cells are kept per program, which always takes the same cells in the same order; the host adds them up.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

import triton
import triton.language as tl

from leukonca.automaton._triton_forward import hidden_sums, perceive, product


@triton.jit(do_not_specialize=["step"])
def through_hidden(
    table, where, cells, counts, gradient, hidden, by_hidden, by_seen, kernels, kernel_bias, w0, b0, w0t, w1t,
    step, stride, height, width,
    CHANNELS: tl.constexpr, HIDDEN: tl.constexpr, BLOCK_CELLS: tl.constexpr, BLOCK_CHANNELS: tl.constexpr,
    BLOCK_HIDDEN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """For the n-th firing cell, rows n of three tables.

    gradient: of the loss by the states after the step, float32 [all cells, CHANNELS]. hidden: the hidden layer,
    by_hidden: the gradient by it before the ReLU, both [n, HIDDEN]. by_seen: the gradient by what the cell perceived,
    [n, 3, CHANNELS]. w0t: [HIDDEN, 3, CHANNELS], w1t: [CHANNELS, HIDDEN].
    """
    where += step.to(tl.int64) * stride
    cells += step.to(tl.int64) * stride
    fired = tl.load(counts + step)
    channels = tl.arange(0, BLOCK_CHANNELS)
    for tile in range(tl.program_id(0), tl.cdiv(fired, BLOCK_CELLS), tl.num_programs(0)):
        rank = tile * BLOCK_CELLS + tl.arange(0, BLOCK_CELLS)
        live = rank < fired
        cell = tl.load(cells + rank, mask=live, other=0)
        rank = rank.to(tl.int64)
        for part in range(HIDDEN // BLOCK_HIDDEN):
            unit = part * BLOCK_HIDDEN + tl.arange(0, BLOCK_HIDDEN)
            sums = hidden_sums(
                table, where, cell, kernels, kernel_bias, w0, b0, height, width, unit,
                CHANNELS, HIDDEN, BLOCK_CHANNELS, PRECISION,
            )  # fmt: skip
            flow = tl.zeros([BLOCK_CELLS, BLOCK_HIDDEN], tl.float32)
            for block in range(CHANNELS // BLOCK_CHANNELS):
                channel = block * BLOCK_CHANNELS + channels
                after = tl.load(gradient + cell.to(tl.int64)[:, None] * CHANNELS + channel[None, :])
                flow = product(after, tl.load(w1t + channel[:, None] * HIDDEN + unit[None, :]), flow, PRECISION)
            flow = tl.where(sums > 0, flow, 0.0)
            at = rank[:, None] * HIDDEN + unit[None, :]
            tl.store(hidden + at, tl.maximum(sums, 0.0).to(hidden.dtype.element_ty), mask=live[:, None])
            tl.store(by_hidden + at, flow.to(by_hidden.dtype.element_ty), mask=live[:, None])
            for block in range(3 * CHANNELS // BLOCK_CHANNELS):
                channel = block * BLOCK_CHANNELS + channels
                to = by_seen + rank[:, None] * 3 * CHANNELS + channel[None, :]
                back = tl.load(to, mask=live[:, None] & (part > 0), other=0.0).to(tl.float32)
                weights = tl.load(w0t + unit[:, None] * 3 * CHANNELS + channel[None, :])
                back = product(flow, weights, back, PRECISION)
                tl.store(to, back.to(by_seen.dtype.element_ty), mask=live[:, None])
            tl.debug_barrier()  # what one thread stored, another may load for the next part


@triton.jit(do_not_specialize=["step"])
def to_weights(
    table, where, cells, counts, gradient, hidden, by_hidden, kernels, kernel_bias, sum_w0, sum_b0, sum_w1,
    step, stride, height, width,
    CHANNELS: tl.constexpr, HIDDEN: tl.constexpr, BLOCK_CELLS: tl.constexpr, BLOCK_CHANNELS: tl.constexpr,
    BLOCK_HIDDEN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Adds the step's gradients to this program's sums.

    The grid is (shares of the firing cells, blocks of channels, blocks of hidden units). sum_w0: float32
    [shares, 3, CHANNELS, HIDDEN], sum_b0: [shares, HIDDEN], sum_w1: [shares, HIDDEN, CHANNELS].
    """
    where += step.to(tl.int64) * stride
    cells += step.to(tl.int64) * stride
    share = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    unit = tl.program_id(2) * BLOCK_HIDDEN + tl.arange(0, BLOCK_HIDDEN)
    fired = tl.load(counts + step)
    of_own = tl.zeros([BLOCK_CHANNELS, BLOCK_HIDDEN], tl.float32)
    of_first = tl.zeros([BLOCK_CHANNELS, BLOCK_HIDDEN], tl.float32)
    of_second = tl.zeros([BLOCK_CHANNELS, BLOCK_HIDDEN], tl.float32)
    of_bias = tl.zeros([BLOCK_HIDDEN], tl.float32)
    of_update = tl.zeros([BLOCK_HIDDEN, BLOCK_CHANNELS], tl.float32)
    for tile in range(tl.program_id(0), tl.cdiv(fired, BLOCK_CELLS), tl.num_programs(0)):
        rank = tile * BLOCK_CELLS + tl.arange(0, BLOCK_CELLS)
        live = rank < fired
        cell = tl.load(cells + rank, mask=live, other=0)
        at = rank.to(tl.int64)[:, None] * HIDDEN + unit[None, :]
        flow = tl.load(by_hidden + at, mask=live[:, None], other=0.0)
        active = tl.load(hidden + at, mask=live[:, None], other=0.0)
        after = tl.load(gradient + cell.to(tl.int64)[:, None] * CHANNELS + channel[None, :])
        own, first, second = perceive(table, where, cell, channel, kernels, kernel_bias, height, width, CHANNELS)
        of_own = product(tl.trans(own), flow, of_own, PRECISION)
        of_first = product(tl.trans(first), flow, of_first, PRECISION)
        of_second = product(tl.trans(second), flow, of_second, PRECISION)
        of_update = product(tl.trans(active), after, of_update, PRECISION)
        of_bias += tl.sum(flow.to(tl.float32), 0)
    to = sum_w0 + share * (3 * CHANNELS * HIDDEN) + channel[:, None] * HIDDEN + unit[None, :]
    tl.store(to, tl.load(to) + of_own)
    to += CHANNELS * HIDDEN
    tl.store(to, tl.load(to) + of_first)
    to += CHANNELS * HIDDEN
    tl.store(to, tl.load(to) + of_second)
    to = sum_w1 + share * (HIDDEN * CHANNELS) + unit[:, None] * CHANNELS + channel[None, :]
    tl.store(to, tl.load(to) + of_update)
    if tl.program_id(1) == 0:
        of = sum_b0 + share * HIDDEN + unit
        tl.store(of, tl.load(of) + of_bias)


@triton.jit
def _tap(
    back, first, second, own, views, rows, taps, start, row, column, height, width,
    ROW: tl.constexpr, COLUMN: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Adds what one neighbour, if it fired, sends back to the cells, and to the sums of the tap it saw them by."""
    row += ROW
    column += COLUMN
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    rank = tl.load(rows + row * width + column, mask=inside, other=0).to(tl.int64) - start
    fired = (inside & (rank >= 0))[:, None]
    by_first = tl.load(views + rank[:, None] * 3 * CHANNELS, mask=fired, other=0.0).to(tl.float32)
    by_second = tl.load(views + (rank[:, None] * 3 + 1) * CHANNELS, mask=fired, other=0.0).to(tl.float32)
    TAP: tl.constexpr = (1 - ROW) * 3 + (1 - COLUMN)
    back += by_first * tl.load(taps + TAP * CHANNELS).to(tl.float32)[None, :]
    back += by_second * tl.load(taps + (9 + TAP) * CHANNELS).to(tl.float32)[None, :]
    return back, first + by_first * own, second + by_second * own


@triton.jit
def _add(sums, tap, channel, total, CHANNELS: tl.constexpr):
    to = sums + tap * CHANNELS + channel
    tl.store(to, tl.load(to) + tl.sum(total, 0))


@triton.jit(do_not_specialize=["step"])
def to_states(
    table, where, gradient, by_seen, starts, order, kernels, sum_kernels,
    step, images, stride, height, width,
    CHANNELS: tl.constexpr, BLOCK_CELLS: tl.constexpr, BLOCK_CHANNELS: tl.constexpr,
):  # fmt: skip
    """Turns the gradient by the states after the step into the one before it, and adds to the kernels' gradients.

    The grid is (shares of the cells, blocks of channels). order: int32 [H W], the cells with those that the border
    reflects last. sum_kernels: float32 [shares, 20, CHANNELS], two times nine taps and two biases.

    A cell beside the border also stands outside it, as its mirror image: there it is seen by the border's cells.
    """
    where += step.to(tl.int64) * stride
    after = where + stride
    start = tl.load(starts + step)
    C: tl.constexpr = CHANNELS
    channel = tl.program_id(1) * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    views = by_seen + CHANNELS + channel[None, :]
    taps = kernels + channel
    a0 = tl.zeros([BLOCK_CELLS, BLOCK_CHANNELS], tl.float32)
    a1, a2, a3, a4, a5, a6, a7, a8, a_bias = a0, a0, a0, a0, a0, a0, a0, a0, a0
    b0, b1, b2, b3, b4, b5, b6, b7, b8, b_bias = a0, a0, a0, a0, a0, a0, a0, a0, a0, a0
    size = height * width
    tiles = tl.cdiv(size, BLOCK_CELLS)
    for tile in range(tl.program_id(0), images * tiles, tl.num_programs(0)):
        index = (tile % tiles) * BLOCK_CELLS + tl.arange(0, BLOCK_CELLS)
        live = index < size
        place = tl.load(order + index, mask=live, other=0)
        row, column = place // width, place % width
        rows = after + (tile // tiles) * size
        cell = (tile // tiles) * size + place
        own = tl.load(table + tl.load(where + cell).to(tl.int64)[:, None] * CHANNELS + channel[None, :]).to(tl.float32)
        rank = tl.load(after + cell).to(tl.int64) - start
        fired = (live & (rank >= 0))[:, None]
        at = by_seen + rank[:, None] * 3 * CHANNELS + channel[None, :]
        back = tl.load(at, mask=fired, other=0.0).to(tl.float32)
        a_bias += tl.load(at + CHANNELS, mask=fired, other=0.0).to(tl.float32)
        b_bias += tl.load(at + 2 * CHANNELS, mask=fired, other=0.0).to(tl.float32)
        for mirror in range(9):
            up, left = mirror // 3, mirror % 3
            stands = live & ((up == 0) | ((up == 1) & (row == 1)) | ((up == 2) & (row == height - 2)))
            stands &= (left == 0) | ((left == 1) & (column == 1)) | ((left == 2) & (column == width - 2))
            if tl.max(stands.to(tl.int32)) > 0:
                r = tl.where(up == 0, row, tl.where(up == 1, -1, height))
                r = tl.where(stands, r, -9)  # out of every cell's sight
                c = tl.where(left == 0, column, tl.where(left == 1, -1, width))
                if up != 1:
                    back, a8, b8 = _tap(back, a8, b8, own, views, rows, taps, start, r, c, height, width, -1, -1, C)
                    back, a7, b7 = _tap(back, a7, b7, own, views, rows, taps, start, r, c, height, width, -1, 0, C)
                    back, a6, b6 = _tap(back, a6, b6, own, views, rows, taps, start, r, c, height, width, -1, 1, C)
                if up == 0:
                    back, a5, b5 = _tap(back, a5, b5, own, views, rows, taps, start, r, c, height, width, 0, -1, C)
                    back, a4, b4 = _tap(back, a4, b4, own, views, rows, taps, start, r, c, height, width, 0, 0, C)
                    back, a3, b3 = _tap(back, a3, b3, own, views, rows, taps, start, r, c, height, width, 0, 1, C)
                if up != 2:
                    back, a2, b2 = _tap(back, a2, b2, own, views, rows, taps, start, r, c, height, width, 1, -1, C)
                    back, a1, b1 = _tap(back, a1, b1, own, views, rows, taps, start, r, c, height, width, 1, 0, C)
                    back, a0, b0 = _tap(back, a0, b0, own, views, rows, taps, start, r, c, height, width, 1, 1, C)
        to = gradient + cell.to(tl.int64)[:, None] * CHANNELS + channel[None, :]
        tl.store(to, tl.load(to, mask=live[:, None], other=0.0) + back, mask=live[:, None])
    sums = sum_kernels + tl.program_id(0).to(tl.int64) * (20 * CHANNELS)
    _add(sums, 0, channel, a0, CHANNELS)
    _add(sums, 1, channel, a1, CHANNELS)
    _add(sums, 2, channel, a2, CHANNELS)
    _add(sums, 3, channel, a3, CHANNELS)
    _add(sums, 4, channel, a4, CHANNELS)
    _add(sums, 5, channel, a5, CHANNELS)
    _add(sums, 6, channel, a6, CHANNELS)
    _add(sums, 7, channel, a7, CHANNELS)
    _add(sums, 8, channel, a8, CHANNELS)
    _add(sums, 9, channel, b0, CHANNELS)
    _add(sums, 10, channel, b1, CHANNELS)
    _add(sums, 11, channel, b2, CHANNELS)
    _add(sums, 12, channel, b3, CHANNELS)
    _add(sums, 13, channel, b4, CHANNELS)
    _add(sums, 14, channel, b5, CHANNELS)
    _add(sums, 15, channel, b6, CHANNELS)
    _add(sums, 16, channel, b7, CHANNELS)
    _add(sums, 17, channel, b8, CHANNELS)
    _add(sums, 18, channel, a_bias, CHANNELS)
    _add(sums, 19, channel, b_bias, CHANNELS)
