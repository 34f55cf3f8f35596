"""Compiled gather and scatter of 3 x 3 neighbourhoods, in whatever float type the arrays have."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from leukonca.automaton.compiling import compiled

F = TypeVar("F", bound=Callable[..., Any])
Floats = NDArray[np.floating[Any]]


def _kernel(function: F) -> F:
    return compiled(function, nogil=True, fastmath={"contract", "reassoc", "nsz"}, boundscheck=False)


def neighbours(height: int, width: int) -> NDArray[np.uint64]:
    """Flat indices of every cell's 3 x 3 neighbourhood, row by row, reflected at the borders, uint64 [HW, 9]."""
    rows = np.pad(np.arange(height), 1, mode="reflect")
    columns = np.pad(np.arange(width), 1, mode="reflect")
    cells = rows[:, None] * width + columns  # [H+2, W+2]
    windows = np.lib.stride_tricks.sliding_window_view(cells, (3, 3))  # [H, W, 3, 3]
    return np.ascontiguousarray(windows.reshape(height * width, 9), dtype=np.uint64)


@_kernel
def perceive(state: Floats, kernels: Floats, bias: Floats, around: NDArray[np.uint64], seen: Floats) -> None:
    """What the cells with these neighbourhoods see.

    state [HW, C]; kernels [2, 9, C]; bias [2, C]; around [N, 9]; seen [N, 3, C] is written: itself and both views.
    """
    for i in range(around.shape[0]):
        own = around[i, 4]
        for c in range(state.shape[1]):
            seen[i, 0, c] = state[own, c]
        for view in range(2):
            for c in range(state.shape[1]):
                seen[i, view + 1, c] = bias[view, c]
            # Three neighbours at a time: more streams would exceed what the compiler checks for overlap.
            for row in range(3):
                n0, n1, n2 = around[i, 3 * row], around[i, 3 * row + 1], around[i, 3 * row + 2]
                for c in range(state.shape[1]):
                    seen[i, view + 1, c] += (
                        kernels[view, 3 * row, c] * state[n0, c]
                        + kernels[view, 3 * row + 1, c] * state[n1, c]
                        + kernels[view, 3 * row + 2, c] * state[n2, c]
                    )


@_kernel
def spread(signal: Floats, kernels: Floats, around: NDArray[np.uint64], seen: Floats) -> None:
    """The transpose of `perceive` without bias: signal [HW, C] is added to from seen [N, 3, C]."""
    for i in range(around.shape[0]):
        own = around[i, 4]
        for c in range(signal.shape[1]):
            signal[own, c] += seen[i, 0, c]
        for m in range(9):
            n = around[i, m]
            for c in range(signal.shape[1]):
                signal[n, c] += kernels[0, m, c] * seen[i, 1, c] + kernels[1, m, c] * seen[i, 2, c]


@_kernel
def damp(signal: Floats, sums: Floats, epsilon: float) -> float:
    """Multiply the signal of sums [N, n] in place by |z| / (|z| + epsilon scale); return the relevance that this took.

    The scale is the root mean square of a column. Taken relevance is added up in float64.
    """
    squares = np.zeros(sums.shape[1], np.float64)
    for i in range(sums.shape[0]):
        for c in range(sums.shape[1]):
            squares[c] += sums[i, c] * sums[i, c]
    limits = np.empty(sums.shape[1], sums.dtype)
    for c in range(sums.shape[1]):
        limits[c] = epsilon * np.sqrt(squares[c] / sums.shape[0])
    taken = 0.0
    for i in range(sums.shape[0]):
        of_row = 0.0
        for c in range(sums.shape[1]):
            size = abs(sums[i, c])
            whole = size + limits[c]
            lost = limits[c] / whole if whole > 0 else limits[c]  # whole is 0 only where the limit is
            of_row += signal[i, c] * sums[i, c] * lost
            signal[i, c] -= signal[i, c] * lost
        taken += of_row
    return taken
