"""Memory of the triton engine, and the launches of its kernels.

Shapes are padded with zeros: channels to a multiple of 16 or 32, hidden units to whole blocks. Padding stays zero,
since neither kernels nor weights lead out of it, so no kernel has to mask channels.
"""

from dataclasses import dataclass
from math import gcd
from typing import Any

import torch
import triton
from torch import Tensor

from leukonca.automaton import _triton_backward, _triton_forward, _triton_plan
from leukonca.automaton._triton_settings import Settings, Tile

INTERPRETED = not isinstance(_triton_forward.advance, triton.JITFunction)
PLANNED_STEPS = 8
"""Without gradients, firing cells are listed for so many steps at once."""
LISTED_CELLS = 1024
"""Cells whose firing one program lists."""
LARGEST_HIDDEN_BLOCK = 128


@dataclass(frozen=True)
class Packed:
    """A rule as the kernels want it: padded, input-major, matrices in the type they are multiplied in."""

    kernels: Tensor  # [18, CP], the first view's nine taps, then the second's
    kernel_bias: Tensor  # [2, CP]
    w0: Tensor  # [3, CP, HP]
    b0: Tensor  # [HP]
    w1: Tensor  # [HP, CP]; nothing leads to the image's channels
    channels: int
    hidden: int
    hidden_block: int
    frozen: int  # channels of the image

    @property
    def padded(self) -> int:
        """CP."""
        return self.w1.shape[1]

    @property
    def units(self) -> int:
        """HP."""
        return self.w1.shape[0]


def pack(rule: tuple[Tensor, ...], settings: Settings, frozen: int) -> Packed:
    """Copies of the five parameters of a `Rule`; the first `frozen` channels are the image's, and never change."""
    kernels, kernel_bias, hidden_weight, hidden_bias, update_weight = (tensor.detach() for tensor in rule)
    channels, hidden = update_weight.shape
    padded = _multiple(channels, 16 if channels <= 64 else 32)
    block = min(LARGEST_HIDDEN_BLOCK, max(16, triton.next_power_of_2(hidden)))
    units = _multiple(hidden, block)
    exact: dict[str, Any] = {"dtype": torch.float32, "device": update_weight.device}
    wide = kernels.new_zeros(18, padded)
    wide[:, :channels] = kernels.permute(0, 2, 3, 1).reshape(18, channels)
    bias = torch.zeros(2, padded, **exact)
    bias[:, :channels] = kernel_bias
    w0 = torch.zeros(3, padded, units, **exact)
    w0[:, :channels, :hidden] = hidden_weight.view(hidden, 3, channels).permute(1, 2, 0)
    b0 = torch.zeros(units, **exact)
    b0[:hidden] = hidden_bias
    w1 = torch.zeros(units, padded, **exact)
    w1[:hidden, frozen:channels] = update_weight[frozen:].t()
    matrix = torch.bfloat16 if settings.precision == "bf16" else torch.float32
    return Packed(wide.to(matrix), bias, w0.to(matrix), b0, w1.to(matrix), channels, hidden, block, frozen)


@dataclass(frozen=True)
class Grid:
    """Size of a batch of images, and what decides where it fires."""

    images: int
    height: int
    width: int
    seeds: Tensor  # int32 [images], the bits of the unsigned seeds
    limit: int

    @property
    def cells(self) -> int:
        """Of all images."""
        return self.images * self.height * self.width


@dataclass(frozen=True)
class Plan:
    """Who fires in some steps, and where the states lie."""

    where: Tensor  # int32 [steps + 1, stride], every cell's row before each step and after the last
    cells: Tensor  # int32 [steps, stride], the firing cells
    fired: Tensor  # int32 [steps], how many
    starts: Tensor  # int32 [steps], the first new row of the step, in a log

    @property
    def steps(self) -> int:
        """How many."""
        return len(self.cells)


def lay_out(grid: Grid, rows: Tensor, first_step: int, steps: int, *, log: bool) -> Plan:
    """Plan steps; `rows`, int32 [cells], is where the states lie before the first."""
    stride = _multiple(grid.cells, 4)  # whole vectors, so that every step's pointers are aligned alike
    blocks = triton.cdiv(grid.cells, LISTED_CELLS)
    counts = rows.new_empty(steps, blocks)
    size = grid.cells, grid.height, grid.width
    last = grid.limit - 1
    _triton_plan.count[(blocks, steps)](
        counts, grid.seeds, first_step, size[0], grid.height, grid.width, last, BLOCK=LISTED_CELLS
    )
    ends = counts.cumsum(1, dtype=torch.int32)
    fired = ends[:, -1].contiguous()
    starts = grid.cells + fired.cumsum(0, dtype=torch.int32) - fired
    where, cells = rows.new_zeros(steps + 1, stride), rows.new_empty(steps, stride)
    where[0, : grid.cells] = rows
    _triton_plan.lay_out[(blocks,)](
        cells, where, grid.seeds, ends - counts, starts, first_step, steps, grid.cells, stride, grid.height, grid.width,
        last, BLOCK=LISTED_CELLS, LOG=log,
    )  # fmt: skip
    return Plan(where, cells, fired, starts)


def first_state(images: Tensor, padded: int) -> Tensor:
    """The image in the first channels, zeros elsewhere: [B, K, H, W] -> [cells, CP]."""
    batch, frozen, height, width = images.shape
    state = images.new_zeros(batch, height, width, padded)
    state[..., :frozen] = images.permute(0, 2, 3, 1)
    return state.view(-1, padded)


def states(table: Tensor, rows: Tensor, grid: Grid) -> Tensor:
    """All cells' rows of the table, [cells, CP]."""
    return table.index_select(0, rows[: grid.cells])


def advance(packed: Packed, settings: Settings, grid: Grid, plan: Plan, table: Tensor, step: int, *, log: bool) -> None:
    """The plan's step: writes the new rows of the firing cells."""
    tile, resident = settings.forward_tile(packed.padded, packed.units, packed.hidden_block, _memory(table.device))
    programs = min(_programs(table.device, tile), triton.cdiv(grid.cells, tile.cells))
    _triton_forward.advance[(programs,)](
        table, plan.where, plan.cells, plan.fired, plan.starts,
        packed.kernels, packed.kernel_bias, packed.w0, packed.b0, packed.w1,
        step, grid.cells, plan.where.stride(0), grid.height, grid.width,
        CHANNELS=packed.padded, HIDDEN=packed.units, BLOCK_CELLS=tile.cells,
        BLOCK_CHANNELS=gcd(tile.channels, packed.padded), BLOCK_HIDDEN=packed.hidden_block,
        LOG=log, RESIDENT=resident, PRECISION=settings.precision, **_options(tile),
    )  # fmt: skip


class Gradients:
    """What flows back through a rollout, step by step, and what it leaves with the parameters.

    Args:
        packed: the rule.
        settings: of the forward pass.
        grid: of the forward pass.
        by_states: gradient of the loss by the last states, float32 [cells, C].
    """

    def __init__(self, packed: Packed, settings: Settings, grid: Grid, by_states: Tensor) -> None:
        self.packed, self.settings, self.grid = packed, settings, grid
        self.flow = by_states.new_zeros(grid.cells, packed.padded)
        self.flow[:, : packed.channels] = by_states
        self.w0t = packed.w0.permute(2, 0, 1).contiguous()  # [HP, 3, CP]
        self.w1t = packed.w1.t().contiguous()  # [CP, HP]
        self.order = _border_last(grid).to(by_states.device)
        device, exact = by_states.device, by_states.new_zeros
        channels, units = packed.padded, packed.units
        self.tile_w, self.tile_s = settings.weights_tile(), settings.states_tile()
        parts = channels // gcd(self.tile_w.channels, channels), units // packed.hidden_block
        shares = _programs(device, self.tile_w) // (parts[0] * parts[1])
        shares = max(1, min(shares, triton.cdiv(grid.cells, self.tile_w.cells)))
        self.over_weights = (shares, *parts)
        parts_s = channels // gcd(self.tile_s.channels, channels)
        tiles = grid.images * triton.cdiv(grid.height * grid.width, self.tile_s.cells)
        shares_s = max(1, min(_programs(device, self.tile_s) // parts_s, tiles))
        self.over_states = (shares_s, parts_s)
        self.sum_w0, self.sum_b0 = exact(shares, 3, channels, units), exact(shares, units)
        self.sum_w1, self.sum_kernels = exact(shares, units, channels), exact(shares_s, 20, channels)

    def back(self, table: Tensor, plan: Plan, most: int) -> None:
        """Through all steps of a plan, whose states are logged in the table; at most `most` cells fire in one."""
        packed, grid, settings = self.packed, self.grid, self.settings
        matrix = packed.w0.dtype
        hidden = torch.empty(most, packed.units, dtype=matrix, device=table.device)
        by_hidden = torch.empty_like(hidden)
        by_seen = torch.empty(most, 3, packed.padded, dtype=matrix, device=table.device)
        seen = table, plan.where, plan.cells, plan.fired, self.flow
        view = packed.kernels, packed.kernel_bias
        stride = plan.where.stride(0)
        tile_h = settings.hidden_tile()
        programs = min(_programs(table.device, tile_h), triton.cdiv(grid.cells, tile_h.cells))
        sizes = {"CHANNELS": packed.padded, "HIDDEN": packed.units, "BLOCK_HIDDEN": packed.hidden_block}
        for step in reversed(range(plan.steps)):
            _triton_backward.through_hidden[(programs,)](
                *seen, hidden, by_hidden, by_seen, *view, packed.w0, packed.b0, self.w0t, self.w1t,
                step, stride, grid.height, grid.width, **sizes, **self._blocks(tile_h), PRECISION=settings.precision,
            )  # fmt: skip
            _triton_backward.to_weights[self.over_weights](
                *seen, hidden, by_hidden, *view, self.sum_w0, self.sum_b0, self.sum_w1,
                step, stride, grid.height, grid.width, **sizes, **self._blocks(self.tile_w),
                PRECISION=settings.precision,
            )  # fmt: skip
            _triton_backward.to_states[self.over_states](
                table, plan.where, self.flow, by_seen, plan.starts, self.order, packed.kernels, self.sum_kernels,
                step, grid.images, stride, grid.height, grid.width,
                CHANNELS=packed.padded, **self._blocks(self.tile_s),
            )  # fmt: skip

    def results(self) -> tuple[Tensor, ...]:
        """By the images [B, K, H, W] and by the five parameters of a `Rule`, float32."""
        packed, grid = self.packed, self.grid
        channels, hidden, frozen = packed.channels, packed.hidden, packed.frozen
        images = self.flow[:, :frozen].reshape(grid.images, grid.height, grid.width, frozen)
        kernels = self.sum_kernels.sum(0)[:, :channels]  # [20, C]
        w0 = self.sum_w0.sum(0)[:, :channels, :hidden].permute(2, 0, 1).reshape(hidden, 3 * channels)
        w1 = self.sum_w1.sum(0)[:hidden, :channels].t().contiguous()
        w1[:frozen] = 0
        return (
            images.permute(0, 3, 1, 2).contiguous(),
            kernels[:18].reshape(2, 3, 3, channels).permute(0, 3, 1, 2).contiguous(),
            kernels[18:].contiguous(),
            w0,
            self.sum_b0.sum(0)[:hidden],
            w1,
        )

    def _blocks(self, tile: Tile) -> dict[str, Any]:
        return {
            "BLOCK_CELLS": tile.cells,
            "BLOCK_CHANNELS": gcd(tile.channels, self.packed.padded),
            **_options(tile),
        }


def _border_last(grid: Grid) -> Tensor:
    """Cells of an image, those that reflection shows once more last: int32 [H W]."""
    row, column = torch.arange(grid.height)[:, None], torch.arange(grid.width)
    rows = (row == 1) | (row == grid.height - 2)
    columns = (column == 1) | (column == grid.width - 2)
    kind = (2 * rows.int() + columns.int()).reshape(-1)
    return kind.argsort(stable=True).int()


def _options(tile: Tile) -> dict[str, Any]:
    # Whether a * b + c is rounded once is Triton's default in some versions and not in others.
    options = {"num_warps": tile.warps, "num_stages": tile.stages, "enable_fp_fusion": True}
    return options if tile.registers is None else {**options, "maxnreg": tile.registers}


def _programs(device: torch.device, tile: Tile) -> int:
    if INTERPRETED:
        return 3
    return int(torch.cuda.get_device_properties(device).multi_processor_count) * tile.programs


def _memory(device: torch.device) -> int:
    """Bytes that a program may have on the chip."""
    if INTERPRETED:
        return 0
    return int(getattr(torch.cuda.get_device_properties(device), "shared_memory_per_block_optin", 0))


def _multiple(number: int, of: int) -> int:
    return -(-number // of) * of
