"""The slow engine that reads like the equations; the oracle of the tests.

Source: Deutges et al. 2024, eq. 1-4; reflect padding and the frozen image as in the authors' code.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from leukonca.automaton.fire import fire_mask


def first_state(images: Tensor, channels: int) -> Tensor:
    """The image in the first channels, zeros elsewhere: [B, K, H, W] -> [B, C, H, W]."""
    batch, frozen, height, width = images.shape
    return torch.cat([images, images.new_zeros(batch, channels - frozen, height, width)], dim=1)


def perceive(state: Tensor, kernels: Tensor, kernel_bias: Tensor) -> Tensor:
    """What every cell sees: itself and two learned views of its 3 x 3 neighbourhood.

    Args:
        state: cells, [B, C, H, W]; H, W >= 2, reflected at the borders.
        kernels: depthwise filters, [2, C, 3, 3].
        kernel_bias: [2, C].

    Returns:
        Perception vectors, [B, 3C, H, W], ordered itself, first view, second view.

    Source: Deutges et al. 2024, eq. 2.
    """
    channels = state.shape[1]
    padded = functional.pad(state, (1, 1, 1, 1), mode="reflect")  # [B, C, H+2, W+2]
    views = [
        functional.conv2d(padded, kernel[:, None], bias, groups=channels)
        for kernel, bias in zip(kernels, kernel_bias, strict=True)
    ]
    return torch.cat([state, *views], dim=1)


def update(perceived: Tensor, hidden_weight: Tensor, hidden_bias: Tensor, update_weight: Tensor) -> Tensor:
    """The change that every cell wants: [B, 3C, H, W] -> [B, C, H, W].

    Source: Deutges et al. 2024, eq. 3.
    """
    hidden = functional.conv2d(perceived, hidden_weight[:, :, None, None], hidden_bias).relu()  # [B, hidden, H, W]
    return functional.conv2d(hidden, update_weight[:, :, None, None])


def rollout(
    images: Tensor,
    kernels: Tensor,
    kernel_bias: Tensor,
    hidden_weight: Tensor,
    hidden_bias: Tensor,
    update_weight: Tensor,
    *,
    steps: int,
    fire_rate: float,
    seeds: np.ndarray,
    record: bool = False,
) -> Tensor:
    """Let the automaton run.

    Args:
        images: [B, K, H, W]; the first K channels of the state hold them and never change: red, green and blue (K = 3),
            or those of several pixels (see `leukonca.models.patches`).
        kernels, kernel_bias, hidden_weight, hidden_bias, update_weight: see `Rule`, as tensors of the images' dtype.
        steps: how many.
        fire_rate: expected share of cells that fire in a step.
        seeds: uint32 [B].
        record: return the state after every step.

    Returns:
        [B, C, H, W]; [steps, B, C, H, W] if `record`.
    """
    frozen, height, width = images.shape[1:]
    state = first_state(images, len(update_weight))  # [B, C, H, W]
    states = []
    for step in range(steps):
        masks = np.stack([fire_mask(int(seed), step, height, width, fire_rate) for seed in seeds])
        fires = torch.from_numpy(masks).to(images)[:, None]  # [B, 1, H, W]
        change = update(perceive(state, kernels, kernel_bias), hidden_weight, hidden_bias, update_weight)
        state = torch.cat([images, (state + fires * change)[:, frozen:]], dim=1)
        if record:
            states.append(state)
    return torch.stack(states) if record else state
