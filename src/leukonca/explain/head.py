"""Which channels decided: relevance through the two layers of the classifier's head. NumPy alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukonca.errors import ModelError, UsageError

Floats = NDArray[np.floating[Any]]

HEAD_EPSILON = 1e-6
"""Of `head_relevance`, unless told: small enough to change no figure, large enough to divide by."""


@dataclass(frozen=True)
class Head:
    """The classifier after pooling: logits = last relu(first f + first_bias) + last_bias.

    Args:
        first: [hidden, C].
        first_bias: [hidden].
        last: [K, hidden].
        last_bias: [K].

    Raises:
        ModelError: shapes that do not belong together.
    """

    first: Floats
    first_bias: Floats
    last: Floats
    last_bias: Floats

    def __post_init__(self) -> None:
        hidden, number = self.first.shape[0], self.last.shape[0]
        if (self.first_bias.shape, self.last.shape, self.last_bias.shape) != ((hidden,), (number, hidden), (number,)):
            shapes = [array.shape for array in vars(self).values()]
            raise ModelError(f"head: weights and biases of shapes {shapes} do not belong together")

    def logits(self, features: Floats) -> Floats:
        """Class scores [..., K] of features [..., C]."""
        hidden = np.maximum(features @ self.first.T + self.first_bias, 0)
        scores: Floats = hidden @ self.last.T + self.last_bias
        return scores


@dataclass(frozen=True, eq=False)
class HeadRelevance:
    """How a logit is made up.

    Args:
        channels: relevance of each channel, in units of the logit, [C].
        signal: relevance per unit of a feature, [C]: `channels` is `signal` times the features. It is defined where
            a feature is 0, too, and is what the automaton's last state is explained with.
        bias: what the two layers' biases gave.
        absorbed: what epsilon took; 0 with epsilon = 0.
        logit: the sum of channels, bias and absorbed.
    """

    channels: Floats
    signal: Floats
    bias: float
    absorbed: float
    logit: float


def head_relevance(features: Floats, head: Head, target: int, *, epsilon: float = HEAD_EPSILON) -> HeadRelevance:
    """Relevance of every channel for one class, by the epsilon rule.

    Through a layer z_k = sum_j a_j w_jk + b_k the relevance R_k goes to the inputs as

        R_j = sum_k  a_j w_jk / (z_k + epsilon sign(z_k)) R_k ,     sign(0) = 1

    The bias is part of z_k and takes b_k / (z_k + epsilon sign(z_k)) R_k for itself, epsilon takes the rest; both are
    reported. The ReLU passes relevance on unchanged. The class's logit is what is distributed.

    It is computed without a division by small numbers: with R_j = a_j c_j the rule says c_j = sum_k w_jk s_k, where
    s_k = c_k |z_k| / (|z_k| + epsilon). So epsilon = 0 is gradient times input, and epsilon > 0 the same with every
    weak sum damped.

    Args:
        features: pooled channels of one image, [C].
        head: the classifier.
        target: number of the class.
        epsilon: absolute, as in the paper; not negative.

    Raises:
        UsageError: no such class, features of another shape, or a negative epsilon.

    Source: Deutges et al. 2024, section 2.3; Bach et al. 2015, doi 10.1371/journal.pone.0130140, eq. 58.
    """
    if not 0 <= target < len(head.last):
        raise UsageError(f"class number {target}: there are {len(head.last)}, counted from 0")
    if features.shape != (head.first.shape[1],):
        raise UsageError(f"features of shape {features.shape}; this head takes [{head.first.shape[1]}]")
    if not epsilon >= 0:
        raise UsageError(f"epsilon {epsilon}: must not be negative")
    before = head.first @ features + head.first_bias  # [hidden]
    hidden = np.maximum(before, 0)
    logit = head.last[target] @ hidden + head.last_bias[target]
    top = damping(logit, epsilon)
    above = head.last[target] * top  # [hidden]
    below = np.where(before > 0, above * damping(before, epsilon), 0)
    signal = below @ head.first  # [C]
    bias = head.last_bias[target] * top + head.first_bias @ below
    absorbed = logit * (1 - top) + (above * hidden - below * before).sum()
    return HeadRelevance(
        channels=signal * features, signal=signal, bias=float(bias), absorbed=float(absorbed), logit=float(logit)
    )


def damping(sums: Any, epsilon: Any) -> Any:
    """The share |z| / (|z| + epsilon) of a sum's relevance that the epsilon rule passes on; 1 where epsilon is 0."""
    size = np.abs(sums)
    whole = size + epsilon
    return np.divide(size, whole, out=np.ones_like(size), where=whole > 0)
