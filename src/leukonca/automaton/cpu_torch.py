"""The CPU engine as one differentiable torch operation."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from leukonca.automaton import cpu, torch_engine
from leukonca.automaton.rule import Rule


def rollout(
    images: Tensor,
    *rule: Tensor,
    steps: int,
    fire_rate: float,
    seeds: NDArray[np.uint32],
    record: bool = False,
) -> Tensor:
    """As `reference.rollout`, for float32 on the CPU.

    A recorded run that must be differentiated goes through the torch engine.
    """
    differentiate = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (images, *rule))
    if differentiate and record:
        return torch_engine.rollout(images, *rule, steps=steps, fire_rate=fire_rate, seeds=seeds, record=True)
    if differentiate:
        states: Tensor = _Rollout.apply(images, *rule, steps, fire_rate, seeds)  # type: ignore[no-untyped-call]
        return states.permute(0, 3, 1, 2)
    settings: dict[str, Any] = {"steps": steps, "fire_rate": fire_rate, "seeds": seeds}
    run = cpu.rollout_recorded if record else cpu.rollout
    plain = run(_array(images), _rule(rule), threads=torch.get_num_threads(), **settings)
    return torch.from_numpy(plain).movedim(-1, -3)


PARAMETERS = len(Rule.__dataclass_fields__)


class _Rollout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, *arguments: Any) -> Tensor:
        *rule, steps, fire_rate, seeds = arguments
        tape = cpu.rollout_taped(
            _array(images),
            _rule(rule),
            steps=steps,
            fire_rate=fire_rate,
            seeds=seeds,
            threads=torch.get_num_threads(),
        )
        states = torch.from_numpy(tape.states)
        # Torch lets go of them after the backward pass, and refuses one after any of them was changed in place.
        ctx.save_for_backward(states, *rule, *(torch.from_numpy(rows) for rows in (*tape.replaced, *tape.hidden)))
        ctx.settings = seeds, steps, fire_rate, images.shape[1]
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        states, *others = ctx.saved_tensors
        rows = tuple(_array(tensor) for tensor in others[PARAMETERS:])
        tape = cpu.Tape(states.detach().numpy(), rows[: len(states)], rows[len(states) :], *ctx.settings)
        rule = _rule(others[:PARAMETERS])
        by_images, by_rule = cpu.rollout_backward(tape, _array(gradient), rule, threads=torch.get_num_threads())
        arrays = (by_images, *vars(by_rule).values())
        return (*(torch.from_numpy(array) for array in arrays), None, None, None)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.detach().contiguous().numpy()
    return array


def _rule(tensors: Any) -> Rule:
    return Rule(*(_array(tensor) for tensor in tensors))
