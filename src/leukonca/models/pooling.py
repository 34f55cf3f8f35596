"""How the automaton's last state becomes one feature per channel; each way in torch, for training, and in numpy.

Torch is not imported here: tensors bring their own methods, so that prediction can use this file without it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float32]

TOP_PART = 10
"""One cell in so many, rounded up, counts as top."""


@dataclass(frozen=True)
class Pooling:
    """One way to pool.

    Args:
        of_tensor: states [B, C, H, W] and the attention map, or None -> features [B, C].
        of_array: one state, float32 [H, W, C], and the attention map, or None -> features, float32 [C]. One image
            at a time, so that no image's result depends on those beside it.
        attends: it has a learned attention map, one value for each cell of the architecture's grid.
    """

    of_tensor: "Callable[[Tensor, Tensor | None], Tensor]"
    of_array: Callable[[Array, Array | None], Array]
    attends: bool = False


def _max_of_tensor(state: "Tensor", attention: "Tensor | None") -> "Tensor":
    return state.amax(dim=(-2, -1))


def _max_of_array(state: Array, attention: Array | None) -> Array:
    largest: Array = state.max(axis=(0, 1))
    return largest


def _mean_of_tensor(state: "Tensor", attention: "Tensor | None") -> "Tensor":
    return state.mean(dim=(-2, -1))


def _mean_of_array(state: Array, attention: Array | None) -> Array:
    mean: Array = state.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
    return mean


def _top_of_tensor(state: "Tensor", attention: "Tensor | None") -> "Tensor":
    cells = state.flatten(start_dim=2)  # [B, C, H x W]
    return cells.topk(top_count(cells.shape[-1]), dim=-1, sorted=False).values.mean(dim=-1)


def _top_of_array(state: Array, attention: Array | None) -> Array:
    cells = state.reshape(-1, state.shape[-1])  # [H x W, C]
    count = top_count(len(cells))
    top = np.partition(cells, len(cells) - count, axis=0)[-count:]
    mean: Array = top.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


def _attended_of_tensor(state: "Tensor", attention: "Tensor | None") -> "Tensor":
    assert attention is not None
    (height, width), (own_height, own_width) = state.shape[-2:], attention.shape
    if (height, width) != (own_height, own_width):
        down = attention.new_tensor(bilinear(height, own_height))
        across = attention.new_tensor(bilinear(width, own_width))
        attention = down @ attention @ across.T
    return _top_of_tensor(state * attention.sigmoid(), None)


def _attended_of_array(state: Array, attention: Array | None) -> Array:
    assert attention is not None
    (height, width), (own_height, own_width) = state.shape[:2], attention.shape
    resized = bilinear(height, own_height) @ attention @ bilinear(width, own_width).T  # float64 [H, W]
    shares = (0.5 + 0.5 * np.tanh(0.5 * resized)).astype(np.float32)  # the sigmoid, which does not overflow so
    return _top_of_array(state * shares[:, :, None], None)


POOLINGS: Mapping[str, Pooling] = MappingProxyType(
    {
        "max": Pooling(_max_of_tensor, _max_of_array),
        "mean": Pooling(_mean_of_tensor, _mean_of_array),
        "topk": Pooling(_top_of_tensor, _top_of_array),
        "attention": Pooling(_attended_of_tensor, _attended_of_array, attends=True),
    }
)
"""By name. `max`: the largest value (Deutges et al. 2024). `topk`: the mean of the largest tenth of the values.
`attention`: the same of the state times the sigmoid of a learned map, one value a cell (aNCA, arXiv 2508.12324)."""


def top_count(cells: int) -> int:
    """How many of so many cells are the top tenth, at least one."""
    return -(-cells // TOP_PART)


def bilinear(size: int, own: int) -> NDArray[np.float64]:
    """Linear interpolation of `own` values at the centres of `size` equal parts of their span, [size, own].

    An attention map belongs to the cells of the architecture's grid. On another one it is stretched over the field,
    by this matrix along each axis; what lies outside the centres of the outer cells has their value.
    """
    places = np.clip((np.arange(size) + 0.5) * own / size - 0.5, 0, own - 1)
    matrix: NDArray[np.float64] = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(own)))
    return matrix
