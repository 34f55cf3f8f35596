"""How the CPU engine lays out a rule: channels last, padded to whole vectors, weights in panels."""

import numpy as np

from leukonca.automaton._kernels import Packed
from leukonca.automaton._memory import aligned
from leukonca.automaton._vectors import LANES, WIDE
from leukonca.automaton.rule import Array, Rule, RuleGradient


def padded(count: int) -> int:
    """So many numbers, filled up to whole vectors."""
    return -(-count // LANES) * LANES


def odd_lines(count: int) -> int:
    """So many numbers, filled up to an odd number of vectors: rows that far apart do not compete for one place in
    the cache."""
    vectors = -(-count // LANES)
    return (vectors | 1) * LANES


def pack(rule: Rule, frozen: int) -> Packed:
    """For `_kernels.forward`: filters [20, C], w0 panels of [3C, hidden], b0 [1, hidden], w1 panels of [hidden, C],
    whose first `frozen` columns, those of the image, have no effect."""
    filters, w0, b0, w1 = _padded_rule(rule, frozen)
    return filters, _panels(w0), b0, _panels(w1)


def pack_back(rule: Rule, frozen: int) -> tuple[Array, Array]:
    """For `_kernels.backward`: panels of w0 [hidden, 3C] and of w1 [C, hidden]."""
    _, w0, _, w1 = _padded_rule(rule, frozen)
    return _panels(w0.T), _panels(w1.T)


def zero_gradients(rule: Rule, biases: int = 1) -> Packed:
    """What `_kernels.backward` adds to: filters [20, C], w0 [3C, hidden], b0 [biases, hidden], w1 [hidden, C], all
    padded."""
    filters, w0, b0, w1 = _padded_rule(rule, 0)
    a, b, c, d = (_zeros(*shape) for shape in (filters.shape, w0.shape, (biases, b0.shape[1]), w1.shape))
    return a, b, c, d


def side_by_side(first: RuleGradient, second: RuleGradient) -> RuleGradient:
    """Of a rule whose channels are those of two rules; the bias is the first one's."""
    hidden = len(first.hidden_bias)
    columns = [part.hidden_weight.reshape(hidden, 3, -1) for part in (first, second)]
    return RuleGradient(
        kernels=np.concatenate([first.kernels, second.kernels], axis=1),
        kernel_bias=np.concatenate([first.kernel_bias, second.kernel_bias], axis=1),
        hidden_weight=np.concatenate(columns, axis=2).reshape(hidden, -1),
        hidden_bias=first.hidden_bias,
        update_weight=np.concatenate([first.update_weight, second.update_weight]),
    )


def unpack_gradients(gradients: Packed, rule: Rule) -> RuleGradient:
    """Back to the shapes of the rule."""
    filters, w0, b0, w1 = gradients
    n, hidden = rule.channels, rule.hidden
    return RuleGradient(
        kernels=np.ascontiguousarray(filters[:18, :n].reshape(2, 9, n).transpose(0, 2, 1)).reshape(2, n, 3, 3),
        kernel_bias=filters[18:, :n].copy(),
        hidden_weight=np.ascontiguousarray(w0.reshape(3, -1, w0.shape[1])[:, :n, :hidden].reshape(3 * n, hidden).T),
        hidden_bias=b0[0, :hidden].copy(),
        update_weight=np.ascontiguousarray(w1[:hidden, :n].T),
    )


def _padded_rule(rule: Rule, frozen: int) -> Packed:
    n, hidden = rule.channels, rule.hidden
    filters = np.zeros((20, padded(n)), np.float32)
    filters[:18, :n] = rule.kernels.reshape(2, n, 9).transpose(0, 2, 1).reshape(18, n)
    filters[18:, :n] = rule.kernel_bias
    w0 = np.zeros((3, padded(n), padded(hidden)), np.float32)
    w0[:, :n, :hidden] = rule.hidden_weight.T.reshape(3, n, hidden)
    b0 = np.zeros((1, padded(hidden)), np.float32)
    b0[0, :hidden] = rule.hidden_bias
    w1 = np.zeros((padded(hidden), padded(n)), np.float32)
    w1[:hidden, frozen:n] = rule.update_weight[frozen:].T
    return _aligned_copy(filters), w0.reshape(-1, padded(hidden)), _aligned_copy(b0), w1


def _panels(matrix: Array) -> Array:
    """[depth, columns] cut into the panels of columns that `_tiles.product` walks through, each contiguous."""
    vectors = matrix.shape[1] // LANES
    count = -(-vectors // 4) if WIDE else vectors
    widths = [LANES * (vectors // count + (panel < vectors % count)) for panel in range(count)]
    pieces = np.split(matrix, np.cumsum(widths)[:-1], axis=1)
    return _aligned_copy(np.concatenate([piece.reshape(-1) for piece in pieces]))


def _zeros(*shape: int) -> Array:
    zeros = aligned(*shape)
    zeros[...] = 0
    return zeros


def _aligned_copy(array: Array) -> Array:
    copy = aligned(*array.shape)
    copy[...] = array
    return copy
