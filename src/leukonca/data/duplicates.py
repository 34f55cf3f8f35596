"""Images that show the same cell: copies of a file, and files whose pixels are nearly equal."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

THUMBNAIL = 32
"""Side of the small images that are compared, pixels."""

SHIFT = 2
"""A second picture of the same cell may be moved by so many thumbnail pixels, 2 of 32, in each direction."""

ALIKE = 0.86
"""Correlation of unmoved thumbnails from which on two images are looked at closely."""

CORRELATION = 0.965
DIFFERENCE = 5.0
"""Two images are nearly equal above this correlation and below this mean difference (levels, 0..255), where they
match best.

Chosen by eye on the real cells: on all 17,092 images of Acevedo-20 it leaves five pairs, each one cell taken twice,
and no false ones; the nearest strangers correlate with 0.92 at a difference of 12. On 300 images of JTSC, where all
lymphocytes are dark discs on white, strangers reach 0.98, but at a difference above 5.
"""

BLOCK = 512
MOST_CANDIDATES = 50_000


def identical_groups(digests: Sequence[str]) -> list[tuple[int, ...]]:
    """Positions of equal digests, two or more together, in order of appearance; empty digests count for nothing."""
    groups: dict[str, list[int]] = defaultdict(list)
    for position, digest in enumerate(digests):
        if digest:
            groups[digest].append(position)
    return [tuple(members) for members in groups.values() if len(members) > 1]


def near_pairs(thumbnails: NDArray[np.uint8]) -> list[tuple[int, int, float]]:
    """Pairs of images whose pixels are nearly equal, up to a small shift and another tint.

    Compares all pairs, 17,000 images in a few seconds: the correlation of grey, half-size thumbnails picks
    candidates, at most `MOST_CANDIDATES` of them, which are then moved against each other and compared in color.
    Memory grows with the number of images, not of pairs.

    Args:
        thumbnails: uint8 [N, 32, 32, 3], of different files.

    Returns:
        (first, second, difference) with first < second; the difference is the mean over pixels and colors after
        the best shift and with equal mean colors, in levels of 0..255; the most alike first.
    """
    if len(thumbnails) < 2:
        return []
    grey = thumbnails.mean(axis=3, dtype=np.float32)  # [N, 32, 32]
    first, second = _most_alike(_coarse(grey))
    pairs = []
    for start in range(0, len(first), BLOCK):
        a, b = first[start : start + BLOCK], second[start : start + BLOCK]
        shifts = _best_shifts(grey[a], grey[b])
        for i, j, shift in zip(a.tolist(), b.tolist(), shifts, strict=True):
            correlation_there, difference = _compare(thumbnails[i], thumbnails[j], shift)
            if correlation_there > CORRELATION and difference < DIFFERENCE:
                pairs.append((i, j, difference))
    return sorted(pairs, key=lambda pair: (pair[2], pair[0], pair[1]))


def _most_alike(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pairs of rows with the largest products above `ALIKE`, at most `MOST_CANDIDATES`; the largest first."""
    first, second = np.zeros(0, np.int64), np.zeros(0, np.int64)
    alike = np.zeros(0, np.float32)
    enough = np.float32(ALIKE)
    for start, other in product(range(0, len(vectors), BLOCK), repeat=2):
        if other < start:
            continue
        correlation = vectors[start : start + BLOCK] @ vectors[other : other + BLOCK].T
        a, b = np.nonzero(correlation > enough)
        if other == start:
            once = b > a
            a, b = a[once], b[once]
        first, second = np.append(first, a + start), np.append(second, b + other)
        alike = np.append(alike, correlation[a, b])
        if len(alike) > 2 * MOST_CANDIDATES:  # seldom, as each time raises what is enough
            first, second, alike = _cut(first, second, alike)
            enough = alike[-1]
    first, second, _ = _cut(first, second, alike)
    return first, second


def _cut(
    first: NDArray[np.int64], second: NDArray[np.int64], alike: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    best = np.argsort(-alike, kind="stable")[:MOST_CANDIDATES]
    return first[best], second[best], alike[best]


def _coarse(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """[N, 32, 32] -> half-size, as vectors of length one around zero: their product is the correlation, [N, 256]."""
    halves = (grey[:, ::2, ::2] + grey[:, 1::2, ::2] + grey[:, ::2, 1::2] + grey[:, 1::2, 1::2]) / 4
    vectors: NDArray[np.float32] = halves.reshape(len(grey), -1).astype(np.float32)
    vectors -= vectors.mean(axis=1, keepdims=True)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-3)
    return vectors


def _best_shifts(first: NDArray[np.float32], second: NDArray[np.float32]) -> list[tuple[int, int]]:
    """The shift (down, right) at which each pair of grey images correlates best: [M, 32, 32] twice -> M shifts."""
    first, second = (grey - grey.mean(axis=(1, 2), keepdims=True) for grey in (first, second))
    shifts = list(product(range(-SHIFT, SHIFT + 1), repeat=2))
    correlations = []
    for down, right in shifts:
        a = first[:, _overlap(down), _overlap(right)].reshape(len(first), -1)
        b = second[:, _overlap(-down), _overlap(-right)].reshape(len(second), -1)
        both, one, other = ((x * y).sum(axis=1) for x, y in ((a, b), (a, a), (b, b)))
        correlations.append(both / np.sqrt(np.maximum(one * other, 1e-6)))
    return [shifts[k] for k in np.argmax(correlations, axis=0).tolist()]


def _compare(first: NDArray[np.uint8], second: NDArray[np.uint8], shift: tuple[int, int]) -> tuple[float, float]:
    """Correlation over colors and positions, and mean difference, of two thumbnails moved against each other."""
    down, right = shift
    a = first[_overlap(down), _overlap(right)].astype(np.float64)
    b = second[_overlap(-down), _overlap(-right)].astype(np.float64)
    a, b = (pixels - pixels.mean(axis=(0, 1)) for pixels in (a, b))
    correlation = (a * b).sum() / np.sqrt(max((a * a).sum() * (b * b).sum(), 1e-6))
    return float(correlation), float(np.abs(a - b).mean())


def _overlap(shift: int) -> slice:
    return slice(max(0, shift), THUMBNAIL + min(0, shift))
