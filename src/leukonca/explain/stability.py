"""Is it the same map when the cell is turned or mirrored? Moves of an image, undone on its map, and how much agrees."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import rotate
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity

from leukonca.errors import UsageError

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Move:
    """A way to lay the same cell under the microscope.

    Args:
        do: moves an image, uint8 [H, W, 3].
        undo: moves a map of the moved image back, [H, W].
        exact: only whole pixels change places; else values between pixels are made up.
    """

    do: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
    undo: Callable[[Floats], Floats]
    exact: bool = True


def _turn(quarters: int) -> Move:
    return Move(partial(_turned, quarters=quarters), partial(_turned, quarters=-quarters))


def _mirror(axis: int) -> Move:
    return Move(partial(_mirrored, axis=axis), partial(_mirrored, axis=axis))


def _turned(pixels: NDArray[Any], quarters: int) -> NDArray[Any]:
    return np.ascontiguousarray(np.rot90(pixels, quarters))


def _mirrored(pixels: NDArray[Any], axis: int) -> NDArray[Any]:
    return np.ascontiguousarray(np.flip(pixels, axis))


def _image_by(image: NDArray[np.uint8], degrees: float) -> NDArray[np.uint8]:
    """Corners that no pixel comes to are filled with the reflected image: background, as a rule."""
    moved = rotate(image.astype(np.float64), degrees, reshape=False, order=3, mode="reflect")
    whole: NDArray[np.uint8] = np.clip(np.round(moved), 0, 255).astype(np.uint8)
    return whole


def _map_by(values: Floats, degrees: float) -> Floats:
    """Linear: a map's peaks must not ring."""
    moved: Floats = rotate(values, degrees, reshape=False, order=1, mode="constant")
    return moved


MOVES: Mapping[str, Move] = MappingProxyType(
    {
        "turned by 90°": _turn(1),
        "turned by 180°": _turn(2),
        "turned by 270°": _turn(3),
        "mirrored, left and right": _mirror(1),
        "mirrored, up and down": _mirror(0),
        "turned by 45°": Move(partial(_image_by, degrees=45.0), partial(_map_by, degrees=-45.0), exact=False),
    }
)
"""By what a reader calls them."""


@dataclass(frozen=True)
class Agreement:
    """How alike two maps are: 1 the same, 0 nothing in common.

    Args:
        rank: Spearman's correlation over the compared pixels; 0 where a map is flat.
        similarity: structural similarity (Wang et al. 2004) with its Gaussian window of 11 x 11, mean over these
            pixels.
    """

    rank: float
    similarity: float


def agreement(a: Floats, b: Floats) -> Agreement:
    """Compare two maps of one cell inside the circle that a turn leaves in the picture.

    Each map is first divided by the root mean square of its values inside: what counts is where relevance lies, not
    how much.

    Args:
        a: one map, [H, W], square and at least 11 wide.
        b: the other.

    Raises:
        UsageError: shapes that do not fit.
    """
    if a.shape != b.shape or a.ndim != 2 or a.shape[0] != a.shape[1] or len(a) < _WINDOW:
        raise UsageError(f"maps of {a.shape} and {b.shape}: expected two of one shape, square, {_WINDOW} or more wide")
    inside = circle(len(a))
    a, b = _scaled(a, inside), _scaled(b, inside)
    flat = min(np.ptp(a[inside]), np.ptp(b[inside])) == 0
    rank = 0.0 if flat else float(spearmanr(a[inside], b[inside]).statistic)
    spread = max(a[inside].max(), b[inside].max()) - min(a[inside].min(), b[inside].min())
    _, similar = structural_similarity(
        a, b, data_range=spread or 1.0, gaussian_weights=True, use_sample_covariance=False, full=True
    )
    return Agreement(rank, float(similar[inside].mean()))


def circle(side: int) -> NDArray[np.bool_]:
    """The circle within a square of this side, [side, side]."""
    away = np.arange(side) - (side - 1) / 2
    inside: NDArray[np.bool_] = away[:, None] ** 2 + away**2 <= (side / 2) ** 2
    return inside


_WINDOW = 11


def _scaled(values: Floats, inside: NDArray[np.bool_]) -> Floats:
    values = np.where(inside, values, 0).astype(np.float64)
    size = float(np.sqrt(np.mean(values[inside] ** 2)))
    return values / size if size else values
