"""Which cells fire, compiled: the same numbers as in `fire`, one after the other."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukonca.automaton._stamped import kernel
from leukonca.automaton.fire import FIRST_FACTOR, GOLDEN, SECOND_FACTOR

_U = np.uintp


@kernel
def _fold(running: Any, value: Any) -> Any:
    h = running ^ np.uint32(value + np.uint32(GOLDEN))
    h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(FIRST_FACTOR))
    h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(SECOND_FACTOR))
    return np.uint32(h ^ (h >> np.uint32(16)))


@kernel
def firing_cells(seed: Any, step: int, height: int, width: int, limit: Any, cells: NDArray[np.int32]) -> int:
    """Write the flat indices of the firing cells, in order, into `cells` [HW + 1]; return how many."""
    count = 0
    run = _fold(_fold(np.uint32(0), np.uint32(seed)), np.uint32(step))
    for row in range(height):
        in_row = _fold(run, np.uint32(row))
        for column in range(width):
            cells[_U(count)] = row * width + column  # overwritten unless it fires: cheaper than a branch
            count += int(np.uint64(_fold(in_row, np.uint32(column))) < limit)
    return count


@kernel
def count_firing(seed: Any, steps: int, height: int, width: int, limit: Any) -> int:
    """How many cells fire over all steps together."""
    total = 0
    cells = np.empty(height * width + 1, np.int32)
    for step in range(steps):
        total += firing_cells(seed, step, height, width, limit, cells)
    return total
