"""Numbers that look drawn at random and follow from a seed alone, for any batch and in any order."""

import numpy as np
from numpy.typing import NDArray

Seeds = NDArray[np.int64]
"""One number a sample, [B]."""


def uniform(seeds: Seeds, slots: int, first: int = 0) -> NDArray[np.float64]:
    """Numbers in 0..1 that depend on seed and slot only, [slots, B].

    Source: the finalizer of SplitMix64 (Steele, Lea, Flood 2014, doi 10.1145/2714064.2660195), applied
    twice so that neighboring seeds do not share slots.
    """
    golden = np.uint64(0x9E3779B97F4A7C15)
    slot = np.arange(first + 1, first + slots + 1, dtype=np.uint64)[:, None]
    mixed = _mix(_mix(seeds.astype(np.uint64) + golden)[None, :] + slot * golden)
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
