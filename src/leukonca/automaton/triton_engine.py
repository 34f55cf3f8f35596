"""The engine for graphics cards: compiled by Triton, only firing cells, hidden layers never stored.

The kernels and their ideas are in `_triton_plan`, `_triton_forward` and `_triton_backward`; `_triton_launch` lays out
memory for them. Importing this file needs the package triton.
"""

from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from leukonca.automaton import _triton_launch as launch
from leukonca.automaton import torch_engine
from leukonca.automaton._triton_settings import Settings, Tile, current, settings
from leukonca.automaton.fire import fire_threshold
from leukonca.errors import UsageError

__all__ = ["Settings", "Tile", "rollout", "settings"]


def rollout(
    images: Tensor, *rule: Tensor, steps: int, fire_rate: float, seeds: NDArray[np.uint32], record: bool = False
) -> Tensor:
    """As `reference.rollout`, for float32 on a CUDA device; how exactly, `settings` says.

    A recorded run that must be differentiated goes through the torch engine.

    Raises:
        UsageError: another dtype, or a device that Triton does not compile for.
    """
    if images.dtype != torch.float32 or not (images.is_cuda or launch.INTERPRETED):
        raise UsageError(
            f"engine 'triton' works on float32 on a CUDA device, not on {images.dtype} on {images.device}: use "
            "engine='auto', or move model and images with .to('cuda', torch.float32)"
        )
    differentiate = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (images, *rule))
    if differentiate and record:
        return torch_engine.rollout(images, *rule, steps=steps, fire_rate=fire_rate, seeds=seeds, record=True)
    bits = torch.from_numpy(seeds.view(np.int32).copy()).to(images.device)
    grid = launch.Grid(len(images), images.shape[2], images.shape[3], bits, fire_threshold(fire_rate))
    with torch.cuda.device(images.device) if images.is_cuda else nullcontext():
        if differentiate:
            states: Tensor = _Rollout.apply(images, *rule, steps, grid, current())  # type: ignore[no-untyped-call]
        else:
            chosen = current()
            packed = launch.pack(rule, chosen, images.shape[1])
            state = launch.first_state(images, packed.padded)
            kept = _exchange(packed, chosen, grid, state, steps, keep_every=1 if record else 0)
            states = torch.stack(kept) if record else kept[0]
            states = _spread(states, packed, grid)
    return states.movedim(-1, -3)


def try_out(device: torch.device) -> None:
    """Compile and run the smallest kernel; raises what Triton raises where it cannot."""
    with torch.cuda.device(device):
        seeds = torch.zeros(1, dtype=torch.int32, device=device)
        rows = torch.arange(4, dtype=torch.int32, device=device)
        launch.lay_out(launch.Grid(1, 2, 2, seeds, 2**31), rows, 0, 1, log=False)
        torch.cuda.synchronize(device)


class _Rollout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, *arguments: Any) -> Tensor:
        *rule, steps, grid, chosen = arguments
        packed = launch.pack(tuple(rule), chosen, images.shape[1])
        state = launch.first_state(images, packed.padded)
        ctx.facts = packed, chosen, grid, steps
        if chosen.keep_every == 1:
            table, plan, ctx.most = _log(packed, chosen, grid, state, 0, steps)
            # Saved as tensors, so that torch frees them with the graph.
            ctx.save_for_backward(table, plan.where, plan.cells, plan.fired, plan.starts)
            return _spread(launch.states(table, plan.where[-1], grid), packed, grid)
        kept = _exchange(packed, chosen, grid, state, steps, keep_every=chosen.keep_every)
        ctx.save_for_backward(state, *kept[:-1])
        return _spread(kept[-1], packed, grid)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        packed, chosen, grid, steps = ctx.facts
        by_states = gradient.float().reshape(grid.cells, packed.channels)
        with torch.cuda.device(gradient.device) if gradient.is_cuda else nullcontext():
            flow = launch.Gradients(packed, chosen, grid, by_states)
            if chosen.keep_every == 1:
                table, *plan = ctx.saved_tensors
                flow.back(table, launch.Plan(*plan), ctx.most)
            else:
                firsts = range(0, steps, chosen.keep_every)
                for first, state in reversed(list(zip(firsts, ctx.saved_tensors, strict=True))):
                    count = min(chosen.keep_every, steps - first)
                    flow.back(*_log(packed, chosen, grid, state, first, count))
            return (*flow.results(), None, None, None)


def _exchange(
    packed: launch.Packed, chosen: Settings, grid: launch.Grid, state: Tensor, steps: int, *, keep_every: int
) -> list[Tensor]:
    """States after every `keep_every`-th step, if any, and after the last, each [cells, CP]."""
    table = _table(chosen, 2 * grid.cells, state)
    rows = torch.arange(grid.cells, dtype=torch.int32, device=state.device)
    kept = []
    for first in range(0, steps, launch.PLANNED_STEPS):
        count = min(launch.PLANNED_STEPS, steps - first)
        plan = launch.lay_out(grid, rows, first, count, log=False)
        for step in range(count):
            launch.advance(packed, chosen, grid, plan, table, step, log=False)
            done = first + step + 1
            if done == steps or (keep_every and done % keep_every == 0):
                kept.append(launch.states(table, plan.where[step + 1], grid))
        rows = plan.where[-1, : grid.cells]
    return kept


def _log(
    packed: launch.Packed, chosen: Settings, grid: launch.Grid, state: Tensor, first: int, steps: int
) -> tuple[Tensor, launch.Plan, int]:
    """The state and, after it, every new row of some steps; their plan; the most cells that fire in one of them."""
    rows = torch.arange(grid.cells, dtype=torch.int32, device=state.device)
    plan = launch.lay_out(grid, rows, first, steps, log=True)
    fired = plan.fired.tolist()
    table = _table(chosen, grid.cells + sum(fired), state)
    for step in range(steps):
        launch.advance(packed, chosen, grid, plan, table, step, log=True)
    return table, plan, max(fired)


def _table(chosen: Settings, rows: int, state: Tensor) -> Tensor:
    table = torch.empty(rows, state.shape[1], dtype=getattr(torch, chosen.state), device=state.device)
    table[: len(state)] = state
    return table


def _spread(states: Tensor, packed: launch.Packed, grid: launch.Grid) -> Tensor:
    """[..., cells, CP] -> float32 [..., B, H, W, C]."""
    shape = (*states.shape[:-2], grid.images, grid.height, grid.width, packed.channels)
    return states[..., : packed.channels].float().reshape(shape)
