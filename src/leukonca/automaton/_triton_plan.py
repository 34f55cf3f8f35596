"""Which cells fire in each step, and where each cell's state lies, worked out on the device.

A state is a table of rows, one row of channels a cell. A cell that fires gets its new state in another row, so that its
neighbours still find the old one, and cells that do not fire are never copied. `where` holds the row of every cell's
state before each step. There are two ways to choose the new row:

- exchange: each cell owns two rows and alternates between them; for prediction.
- log: the new rows of a step follow those of the step before; for training, where the log is all that is kept.

Neither needs to know on the host how many cells fire.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

import triton
import triton.language as tl

from leukonca.automaton import fire

GOLDEN = tl.constexpr(fire.GOLDEN)
FIRST_FACTOR = tl.constexpr(fire.FIRST_FACTOR)
SECOND_FACTOR = tl.constexpr(fire.SECOND_FACTOR)


@triton.jit
def _fold(running, value):
    hashed = running ^ (value.to(tl.uint32) + GOLDEN)
    hashed = (hashed ^ (hashed >> 16)) * FIRST_FACTOR
    hashed = (hashed ^ (hashed >> 13)) * SECOND_FACTOR
    return hashed ^ (hashed >> 16)


@triton.jit
def _fires(seeds, cell, live, step, height, width, last):
    """Whether the cells fire; `last` is the largest hash that does, so that it fits in 32 bits."""
    image = cell // (height * width)
    place = cell % (height * width)
    seed = tl.load(seeds + image, mask=live, other=0)
    hashed = _fold(tl.zeros_like(seed).to(tl.uint32), seed)
    hashed = _fold(hashed, tl.zeros_like(cell) + step)
    hashed = _fold(hashed, place // width)
    hashed = _fold(hashed, place % width)
    return live & (hashed.to(tl.int64) <= last.to(tl.int64))


@triton.jit(do_not_specialize=["first_step", "last"])
def count(counts, seeds, first_step, total, height, width, last, BLOCK: tl.constexpr):
    """Firing cells of each block of cells (first axis of the grid) in each step (second): int32 [steps, blocks]."""
    block, step = tl.program_id(0), tl.program_id(1)
    cell = block * BLOCK + tl.arange(0, BLOCK)
    fires = _fires(seeds, cell, cell < total, first_step + step, height, width, last)
    tl.store(counts + step * tl.num_programs(0) + block, tl.sum(fires.to(tl.int32)))


@triton.jit(do_not_specialize=["first_step", "steps", "last"])
def lay_out(
    cells, where, seeds, offsets, starts, first_step, steps, total, stride, height, width, last,
    BLOCK: tl.constexpr, LOG: tl.constexpr,
):  # fmt: skip
    """Lists the firing cells of each step, in order, and each cell's row before each step and after the last.

    cells: int32 [steps, stride]; where: int32 [steps + 1, stride], the first row given; offsets: int32 [steps, blocks],
    how many fire in earlier blocks; starts: int32 [steps], the log's first new row of the step.
    """
    block = tl.program_id(0)
    cell = block * BLOCK + tl.arange(0, BLOCK)
    live = cell < total
    row = tl.load(where + cell, mask=live, other=0)
    for step in range(steps):
        fires = _fires(seeds, cell, live, first_step + step, height, width, last)
        one = fires.to(tl.int32)
        rank = tl.load(offsets + step * tl.num_programs(0) + block) + tl.cumsum(one) - one
        tl.store(cells + rank, cell, mask=fires)
        other = tl.where(row < total, row + total, row - total)
        new = tl.load(starts + step) + rank if LOG else other
        row = tl.where(fires, new, row)
        cells += stride
        where += stride
        tl.store(where + cell, row, mask=live)
