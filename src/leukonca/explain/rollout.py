"""Relevance carried back through the steps of the automaton, down to the pixels. NumPy and compiled loops, no torch.

The epsilon rule is written here as a signal, relevance per unit of a value (see `leukonca.explain.head`). Through one
step x' = x + W1 h, h = relu(z), z = W0 p + b0, p = (x, K0 * x + k0, K1 * x + k1), of a cell that fires:

    u   = D(x') c'                  the state after the step is one sum, of the old state and of all hidden units
    s   = D(z) W1^T u               where z > 0: the ReLU passes relevance on unchanged
    q   = W0^T s                    what the cell perceived: itself, and two views that are sums themselves
    c   = u + q_itself + sum over both views, transposed filters of D(v) q_view

with D(z) = |z| / (|z| + epsilon), an entry by entry factor. A cell that does not fire keeps c = c'. The frozen image
is an input of every step, so its channels add up over all steps and take no update.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from leukonca.automaton.fire import fire_mask
from leukonca.automaton.rule import Rule
from leukonca.errors import UsageError
from leukonca.explain._kernels import damp, neighbours, perceive, spread

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class PixelRelevance:
    """Where in the image a logit comes from.

    Args:
        pixels: relevance of every value of the image, [H, W, K]: of red, green and blue (K = 3), or those of
            the several pixels that a cell holds (see `leukonca.models.patches`).
        read: relevance that each step took from the image by looking at it, [steps].
        direct: relevance that pooling took from the image's own channels, which no step had to carry.
        bias: what the biases of filters and hidden layer gave in each step, [steps].
        absorbed: what epsilon took in each step, [steps].
        total: relevance of the last state. It is the sum of pixels, bias and absorbed; pixels is the sum of read and
            direct. Both hold up to rounding.
    """

    pixels: Floats
    read: Floats
    direct: float
    bias: Floats
    absorbed: Floats
    total: float


def pixel_relevance(
    states: Floats,
    rule: Rule,
    signal: Floats,
    *,
    fire_rate: float,
    seed: int,
    frozen: int,
    epsilon: float = 0.0,
) -> PixelRelevance:
    """Carry relevance back from the last state to the image.

    Args:
        states: of one image: the first, and the one after every step, [steps + 1, H, W, C]; float32 or float64.
        rule: its parameters, in the same float type.
        signal: relevance per unit of the last state's values, [H, W, C].
        fire_rate: as in the rollout.
        seed: as in the rollout.
        frozen: how many of the first channels hold the image, K.
        epsilon: of the rule, as a share of the root mean square that a sum has over the cells that fire in its step,
            one figure a channel (or hidden unit): the channels differ in scale. 0: gradient times input.

    Raises:
        UsageError: shapes that do not belong together, or a negative epsilon.

    Source: rules: Bach et al. 2015, doi 10.1371/journal.pone.0130140; as a damped gradient: Ancona et al. 2018,
    arXiv 1711.06104; epsilon relative to the scale of the sums: Montavon et al. 2019, doi
    10.1007/978-3-030-28954-6_10; relevance at a skip connection shared in proportion: Otsuki et al. 2024,
    arXiv 2407.09115. Through a rollout: docs/explanation.md.
    """
    if states.ndim != 4 or states.shape[-1] != rule.channels or signal.shape != states.shape[1:]:
        raise UsageError(
            f"states {states.shape} and signal {signal.shape}: expected [steps + 1, H, W, {rule.channels}] and the same"
            " without steps"
        )
    if not epsilon >= 0:
        raise UsageError(f"epsilon {epsilon}: must not be negative")
    steps, (height, width, channels) = len(states) - 1, states.shape[1:]
    step = _Step(rule, neighbours(height, width), epsilon, states.dtype, frozen)
    flat = states.reshape(steps + 1, height * width, channels)
    image = flat[0][:, :frozen].astype(np.float64)  # [HW, K]
    flowing = np.array(signal, dtype=states.dtype, order="C").reshape(height * width, channels)
    total = _dot(flowing, flat[-1])
    taken = [_dot(flowing[:, :frozen], image)]
    bias, absorbed = np.zeros(steps), np.zeros(steps)
    with threadpool_limits(1, "blas"):  # products this small take longer on two threads (measured: twice as long)
        for t in range(steps - 1, -1, -1):
            cells = np.flatnonzero(fire_mask(seed, t, height, width, fire_rate))
            bias[t], absorbed[t] = step.back(flat[t], flat[t + 1], flowing, cells)
            taken.append(_dot(flowing[:, :frozen], image))
    pixels = flowing[:, :frozen] * image  # the other channels start at 0: nothing is theirs
    return PixelRelevance(
        pixels=pixels.reshape(height, width, frozen).astype(states.dtype),
        read=np.diff(taken)[::-1].copy(),
        direct=taken[0],
        bias=bias,
        absorbed=absorbed,
        total=total,
    )


class _Step:
    """One step taken back, in place."""

    def __init__(self, rule: Rule, around: NDArray[np.uint64], epsilon: float, dtype: Any, frozen: int) -> None:
        self.around, self.epsilon, self.dtype, self.frozen = around, epsilon, dtype, frozen
        self.channels, self.hidden = rule.channels, rule.hidden
        self.kernels = np.ascontiguousarray(rule.kernels.reshape(2, -1, 9).transpose(0, 2, 1), dtype)  # [2, 9, C]
        self.kernel_bias = np.ascontiguousarray(rule.kernel_bias, dtype)  # [2, C]
        self.w0 = np.ascontiguousarray(rule.hidden_weight, dtype)  # [hidden, 3C]
        self.b0 = np.ascontiguousarray(rule.hidden_bias, dtype)
        self.w1 = np.ascontiguousarray(rule.update_weight, dtype)  # [C, hidden]
        self.seen = np.empty((0, 3, self.channels), dtype)
        # Far from the cells that won, signals fade below what a float holds in full, and there processors are slow
        # (measured: four times over a rollout).
        self.least = np.finfo(dtype).tiny * 1e8

    def back(self, before: Floats, after: Floats, signal: Floats, cells: NDArray[np.intp]) -> tuple[float, float]:
        """Turn the signal [HW, C] of the state after a step into that of the state before; return bias and absorbed."""
        if len(self.seen) < len(cells):
            self.seen = np.empty((len(cells), 3, self.channels), self.dtype)
        around, seen = self.around[cells], self.seen[: len(cells)]
        perceive(before, self.kernels, self.kernel_bias, around, seen)
        rows = seen.reshape(len(cells), 3 * self.channels)
        z = rows @ self.w0.T
        z += self.b0  # [N, hidden]
        hidden = np.maximum(z, 0)

        change = signal[cells]  # [N, C]
        change[:, : self.frozen] = 0
        change[np.abs(change) < self.least] = 0
        absorbed = self._damp(change, after[cells])
        below = change @ self.w1  # [N, hidden]
        below *= z > 0
        absorbed += self._damp(below, hidden)
        bias = float(below.sum(axis=0, dtype=np.float64) @ self.b0)
        perceived = (below @ self.w0).reshape(seen.shape)  # [N, 3, C]
        for view in (1, 2):
            absorbed += self._damp(perceived[:, view], seen[:, view])
            bias += float(perceived[:, view].sum(axis=0, dtype=np.float64) @ self.kernel_bias[view - 1])

        if self.epsilon:
            signal[cells, self.frozen :] = change[:, self.frozen :]
        spread(signal, self.kernels, around, perceived)
        return bias, absorbed

    def _damp(self, signal: Floats, sums: Floats) -> float:
        """Damp the signal of these sums, [N, n] each, in place; return the relevance that this took."""
        return damp(signal, sums, self.epsilon) if self.epsilon and len(sums) else 0.0


def _dot(a: Floats, b: Floats) -> float:
    """Sum of products, added up in float64: millions of terms of both signs."""
    return float(np.einsum("ij,ij->i", a, b).sum(dtype=np.float64))
