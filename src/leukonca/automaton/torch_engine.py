"""The engine for any device that torch knows: firing cells only, one stored state per step, no graph kept.

Each step is recomputed in the backward pass from the state before it, and its mask is hashed again on the device.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from leukonca.automaton.fire import FIRST_FACTOR, GOLDEN, SECOND_FACTOR, fire_threshold
from leukonca.automaton.reference import first_state

WORD = 0xFFFFFFFF


def rollout(
    images: Tensor, *rule: Tensor, steps: int, fire_rate: float, seeds: NDArray[np.uint32], record: bool = False
) -> Tensor:
    """As `reference.rollout`, on any device and for any float type."""
    kernels, kernel_bias, hidden_weight, hidden_bias, update_weight = rule
    # The image's rows of the last layer have no effect, so they are not computed.
    frozen, height, width = images.shape[1:]
    rows = update_weight[frozen:]
    numbers = torch.from_numpy(seeds.astype(np.int64)).to(images.device)
    limit = fire_threshold(fire_rate)
    differentiate = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (images, *rule))
    state = first_state(images, len(update_weight))  # [B, C, H, W]
    states = []
    for step in range(steps):
        firing = _firing_cells(numbers, step, height, width, limit)
        arguments = (state, kernels, kernel_bias, hidden_weight, hidden_bias, rows, firing)
        if differentiate:
            state = checkpoint(_step, *arguments, use_reentrant=False, preserve_rng_state=False)
        else:
            state = _step(*arguments)
        if record:
            states.append(state)
    return torch.stack(states) if record else state


def _step(
    state: Tensor,
    kernels: Tensor,
    kernel_bias: Tensor,
    hidden_weight: Tensor,
    hidden_bias: Tensor,
    rows: Tensor,
    firing: Tensor,
) -> Tensor:
    """One step: [B, C, H, W] -> [B, C, H, W]; `firing` holds flat indices into B x H x W."""
    batch, channels, height, width = state.shape
    frozen = channels - len(rows)
    padded = functional.pad(state, (1, 1, 1, 1), mode="reflect")  # [B, C, H+2, W+2]
    # Both views in one convolution: output channels 2c and 2c + 1 belong to input channel c.
    both = kernels.transpose(0, 1).reshape(2 * channels, 1, 3, 3)
    views = functional.conv2d(padded, both, kernel_bias.t().reshape(-1), groups=channels)  # [B, 2C, H, W]
    views = views.permute(0, 2, 3, 1).reshape(-1, 2 * channels)[firing]  # [N, 2C]
    own = state.permute(0, 2, 3, 1).reshape(-1, channels)[firing]  # [N, C]
    perceived = torch.cat([own, views[:, 0::2], views[:, 1::2]], dim=1)  # [N, 3C]
    change = functional.linear(functional.linear(perceived, hidden_weight, hidden_bias).relu(), rows)  # [N, C-K]
    spread = change.new_zeros(batch * height * width, len(rows)).index_copy(0, firing, change)
    spread = spread.reshape(batch, height, width, -1).permute(0, 3, 1, 2)  # [B, C-K, H, W]
    return torch.cat([state[:, :frozen], state[:, frozen:] + spread], dim=1)


def _firing_cells(seeds: Tensor, step: int, height: int, width: int, limit: int) -> Tensor:
    """Flat indices into B x H x W of the cells that fire; the hash of `leukonca.fire_mask` on the device, int64 [N]."""
    hashed = _fold(_fold(torch.zeros_like(seeds), seeds), step)[:, None, None]  # [B, 1, 1]
    hashed = _fold(hashed, torch.arange(height, device=seeds.device)[:, None])  # [B, H, 1]
    hashed = _fold(hashed, torch.arange(width, device=seeds.device))  # [B, H, W]
    return (hashed.reshape(-1) < limit).nonzero()[:, 0]


def _fold(running: Tensor, value: Any) -> Tensor:
    # 64-bit numbers hold 32-bit ones: a product that overflows keeps its low bits, which are all that counts.
    hashed = running ^ ((value + GOLDEN) & WORD)
    hashed = ((hashed ^ (hashed >> 16)) * FIRST_FACTOR) & WORD
    hashed = ((hashed ^ (hashed >> 13)) * SECOND_FACTOR) & WORD
    result: Tensor = hashed ^ (hashed >> 16)
    return result
