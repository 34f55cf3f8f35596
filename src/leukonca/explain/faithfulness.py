"""Is a map true? Curves of the class's probability while the places that it calls relevant are taken out, or put in."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, sobel

from leukonca.errors import UsageError

Floats = NDArray[np.float32]
Score = Callable[[NDArray[np.uint8]], NDArray[np.floating]]
"""Squares as the automaton sees them, uint8 [B, H, W, 3] -> a score each, [B]."""


@dataclass(frozen=True, eq=False)
class Curves:
    """How a score changes as places of an image are changed, the most relevant first.

    Args:
        shares: of the image that is changed, [n], from 0 to 1.
        deletion: scores while places are taken out, [n]. A true map falls early.
        insertion: scores while places are put into the emptied image, [n]. A true map rises early.
    """

    shares: Floats
    deletion: Floats
    insertion: Floats

    @property
    def deletion_area(self) -> float:
        """Area under the curve, from 0 to 1; lower is better."""
        return float(np.trapezoid(self.deletion, self.shares))

    @property
    def insertion_area(self) -> float:
        """Area under the curve, from 0 to 1; higher is better."""
        return float(np.trapezoid(self.insertion, self.shares))


def curves(
    square: NDArray[np.uint8],
    relevance: Floats,
    score: Score,
    empty: NDArray[np.uint8],
    *,
    side: int = 4,
    points: int = 13,
) -> Curves:
    """Deletion and insertion curves of one map.

    Args:
        square: what the automaton saw, uint8 [H, W, 3].
        relevance: the map, signed, [H, W]; places are taken in its order, the largest first.
        score: of the class that the map explains.
        empty: what places without content look like, uint8 [H, W, 3]; see `flat` and `blurred`.
        side: of a place, pixels: single pixels are too small to be missed.
        points: of a curve.

    Raises:
        UsageError: shapes that do not fit, or a number out of range.

    Source: Petsiuk et al. 2018, arXiv 1806.07421, section 3.
    """
    if relevance.shape != square.shape[:2] or empty.shape != square.shape:
        raise UsageError(f"square {square.shape}, map {relevance.shape} and empty {empty.shape} do not fit")
    if side < 1 or points < 2:
        raise UsageError(f"side {side} and points {points}: must be at least 1 and 2")
    height, width = relevance.shape
    rows, columns = np.arange(height) // side, np.arange(width) // side
    across = int(columns[-1]) + 1
    place = rows[:, None] * across + columns  # [H, W]
    sums = np.bincount(place.ravel(), weights=relevance.ravel().astype(np.float64))
    sizes = np.bincount(place.ravel())
    order = np.argsort(-sums / sizes, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    shares = np.linspace(0, 1, points)
    changed = rank[place][None] < np.round(shares * len(order))[:, None, None]  # [points, H, W]
    out = np.where(changed[..., None], empty, square)
    put = np.where(changed[..., None], square, empty)
    scores = np.asarray(score(np.concatenate([out, put])), np.float32)
    return Curves(shares.astype(np.float32), scores[:points], scores[points:])


def flat(square: NDArray[np.uint8], color: tuple[float, float, float]) -> NDArray[np.uint8]:
    """Nothing but one color (0..1): with the mean of the training images, what has no relevance by definition."""
    return np.broadcast_to(np.round(255 * np.array(color)).astype(np.uint8), square.shape).copy()


def blurred(square: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    """The image without its details; `sigma` in pixels."""
    smooth = gaussian_filter(square.astype(np.float64), (sigma, sigma, 0), mode="reflect")
    whole: NDArray[np.uint8] = np.round(smooth).astype(np.uint8)
    return whole


def edges(square: NDArray[np.uint8]) -> Floats:
    """A map that knows no model: how fast the picture changes, [H, W]."""
    light = square.astype(np.float64).mean(axis=2)
    steep: Floats = np.hypot(sobel(light, axis=0), sobel(light, axis=1)).astype(np.float32)
    return steep


def noise(square: NDArray[np.uint8], seed: int) -> Floats:
    """A map that knows nothing, [H, W]."""
    return np.random.default_rng(seed).random(square.shape[:2], dtype=np.float32)
