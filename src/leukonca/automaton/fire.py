"""Which cells fire: a pure function of (seed, step, row, column), the same bits in every engine.

Each of the four 32-bit numbers is folded into a running 32-bit hash:

    h = 0;  for v in (seed, step, row, column):  h = mix(h xor (v + 0x9E3779B9 mod 2^32))

where ``mix`` is the finaliser of MurmurHash3 (A. Appleby, public domain). The cell fires when
h < round(rate * 2^32). JavaScript computes the same with ``Math.imul`` and ``>>>``.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukonca.errors import UsageError

GOLDEN = 0x9E3779B9
"""2^32 divided by the golden ratio: keeps a small number from hashing to itself."""

FIRST_FACTOR = 0x85EBCA6B
SECOND_FACTOR = 0xC2B2AE35


def fire_threshold(rate: float) -> int:
    """Hashes below this number fire: round(rate * 2^32).

    Raises:
        UsageError: the rate is not in (0, 1].
    """
    if not 0 < rate <= 1:
        raise UsageError(f"fire rate {rate}: must be above 0 and at most 1")
    return max(1, round(rate * 2**32))


def check_seeds(seeds: Any, batch: int) -> NDArray[np.uint32]:
    """One seed for all, or one an image, as uint32 [batch].

    Raises:
        UsageError: a seed that is no integer in [0, 2^32), or another number of seeds than images.
    """
    values = np.asarray(seeds)
    if values.dtype.kind not in "iu" or values.ndim > 1 or values.size == 0:
        raise UsageError(f"seed {seeds!r}: must be one integer, or one integer an image")
    if values.min() < 0 or values.max() >= 2**32:
        raise UsageError(f"seed {seeds!r}: must lie in [0, 2^32)")
    if values.ndim == 1 and len(values) != batch:
        raise UsageError(f"{len(values)} seeds for {batch} images: give one seed, or one an image")
    return np.ascontiguousarray(np.broadcast_to(values, (batch,)), dtype=np.uint32)


def fire_mask(seed: int, step: int, height: int, width: int, rate: float = 0.5) -> NDArray[np.bool_]:
    """The cells that fire in one step of one image.

    Args:
        seed: of the run, in [0, 2^32).
        step: counted from 0.
        height: rows of the grid.
        width: columns of the grid.
        rate: expected share of firing cells, in (0, 1].

    Returns:
        bool [height, width].

    Raises:
        UsageError: a seed, step or rate out of range.
    """
    limit = fire_threshold(rate)
    (first,) = check_seeds([seed], 1)
    if step < 0:
        raise UsageError(f"step {step}: steps are counted from 0")
    run = _fold(_fold(np.zeros(1, np.uint32), first), np.uint32(step))
    rows = _fold(run, np.arange(height, dtype=np.uint32))  # [H]
    cells = _fold(rows[:, None], np.arange(width, dtype=np.uint32))  # [H, W]
    return cells.astype(np.uint64) < np.uint64(limit)


def _fold(running: NDArray[np.uint32], value: Any) -> NDArray[np.uint32]:
    hashed = running ^ (np.atleast_1d(np.asarray(value, np.uint32)) + np.uint32(GOLDEN))
    hashed = (hashed ^ (hashed >> np.uint32(16))) * np.uint32(FIRST_FACTOR)
    hashed = (hashed ^ (hashed >> np.uint32(13))) * np.uint32(SECOND_FACTOR)
    result: NDArray[np.uint32] = hashed ^ (hashed >> np.uint32(16))
    return result
