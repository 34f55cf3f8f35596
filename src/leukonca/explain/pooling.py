"""Relevance back from the features to the last state, whatever the pooling."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukonca.errors import ModelError
from leukonca.models.pooling import bilinear, top_count

Floats = NDArray[np.floating[Any]]


def shares(pooling: str, state: Floats, attention: Floats | None = None) -> Floats:
    """How much of each cell's value is in a channel's feature: the feature is the sum of shares times values.

    Relevance goes back by the same shares: a channel's relevance is divided in proportion to what the cells gave.

    Args:
        pooling: as in the model's architecture.
        state: the last one, [H, W, C].
        attention: the model's attention map, where it has one.

    Returns:
        [H, W, C].

    Raises:
        ModelError: a pooling that relevance cannot be carried back through.
    """
    check_pooling(pooling)
    return _SHARES[pooling](state, attention)


def check_pooling(name: str) -> None:
    """Raise a `ModelError` for a pooling that relevance cannot be carried back through."""
    if name not in _SHARES:
        raise ModelError(f"pooling {name!r}: relevance can be carried back through {', '.join(_SHARES)} only")


def winners(state: Floats) -> NDArray[np.int64]:
    """Row and column of the cell with the largest value of each channel, the first of several, [C, 2]."""
    height, width, channels = state.shape
    flat = state.reshape(height * width, channels).argmax(axis=0)
    return np.stack(np.divmod(flat, width), axis=1).astype(np.int64)


def _of_max(state: Floats, attention: Floats | None) -> Floats:
    """The winner takes all; several that are equal share, as gradients of a maximum do."""
    won = state == state.max(axis=(0, 1))
    divided: Floats = (won / won.sum(axis=(0, 1))).astype(state.dtype)
    return divided


def _of_mean(state: Floats, attention: Floats | None) -> Floats:
    return np.full_like(state, 1 / (state.shape[0] * state.shape[1]))


def _of_top(state: Floats, attention: Floats | None) -> Floats:
    """The largest tenth; what is equal to the last of them shares its places."""
    cells = state.reshape(-1, state.shape[-1])  # [HW, C]
    count = top_count(len(cells))
    last = np.partition(cells, len(cells) - count, axis=0)[len(cells) - count]  # [C]
    above, level = cells > last, cells == last
    places = (count - above.sum(axis=0)) / level.sum(axis=0)
    divided: Floats = ((above + level * places) / count).astype(state.dtype)
    return divided.reshape(state.shape)


def _of_attention(state: Floats, attention: Floats | None) -> Floats:
    """The learned map is a weight of the cells here; relevance goes to the state alone."""
    assert attention is not None
    height, width = state.shape[:2]
    resized = bilinear(height, attention.shape[0]) @ attention @ bilinear(width, attention.shape[1]).T
    weight = (0.5 + 0.5 * np.tanh(0.5 * resized)).astype(state.dtype)[:, :, None]  # the sigmoid
    attended: Floats = _of_top(state * weight, None) * weight
    return attended


_SHARES: Mapping[str, Callable[[Floats, Floats | None], Floats]] = MappingProxyType(
    {"max": _of_max, "mean": _of_mean, "topk": _of_top, "attention": _of_attention}
)
