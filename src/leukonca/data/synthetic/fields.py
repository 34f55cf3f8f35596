"""Distance fields and textures that SYNTHETIC cells are drawn with.

A distance field is negative inside a shape and grows outward, in um: shapes are joined, dented and given soft edges by
arithmetic on whole arrays, without oversampling.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Field = NDArray[np.float32]
"""One number per pixel, float32 [H, W]."""

Point = tuple[float, float]
"""(x, y), um right of and below the image's centre."""

Window = tuple[slice, slice]
"""Rows and columns of a part of the canvas."""

WHOLE: Window = (slice(None), slice(None))
"""The window that leaves nothing out."""

_TILE = 256


@dataclass(frozen=True)
class Canvas:
    """A square of pixels with a physical scale.

    Args:
        pixels: side, pixels.
        um: side, um.
    """

    pixels: int
    um: float

    @property
    def pixel_um(self) -> float:
        """Side of a pixel, um."""
        return self.um / self.pixels

    def axes(self) -> tuple[Field, Field]:
        """x as [1, W] and y as [H, 1], um from the centre."""
        at = _positions(self.pixels, self.pixel_um)
        return at[None, :], at[:, None]

    def window(self, centre: Point, reach_um: float) -> Window:
        """The pixels within `reach_um` of a place along both axes; empty where it lies outside."""
        middle = (self.pixels - 1) / 2
        column, row = (middle + value / self.pixel_um for value in centre)
        reach = reach_um / self.pixel_um
        spans = ((max(0, math.ceil(at - reach)), max(0, math.floor(at + reach) + 1)) for at in (row, column))
        rows, columns = (slice(*span) for span in spans)
        return rows, columns

    def texture(self, grain_um: float, rng: np.random.Generator) -> Field:
        """Smooth noise of unit variance whose grains are about `grain_um` wide, [H, W]."""
        tile = _tile(round(grain_um / self.pixel_um, 2))
        row, column, flip = rng.integers(0, [_TILE - self.pixels, _TILE - self.pixels, 2])
        cut = tile[row : row + self.pixels, column : column + self.pixels]
        return cut.T if flip else cut

    def coverage(self, distance: Field, soft_um: float = 0.0) -> Field:
        """How much of each pixel lies inside, 0..1, with an edge at least one pixel wide."""
        width = np.float32(max(soft_um, self.pixel_um))
        inside: Field = np.clip(np.float32(0.5) - distance / width, 0, 1)
        return inside


@lru_cache(maxsize=8)
def _positions(pixels: int, pixel_um: float) -> NDArray[np.float32]:
    at: NDArray[np.float32] = ((np.arange(pixels) - (pixels - 1) / 2) * pixel_um).astype(np.float32)
    at.flags.writeable = False
    return at


@lru_cache(maxsize=64)
def _tile(grain_pixels: float) -> Field:
    """Periodic noise, made once per grain; cells cut different pieces out of it."""
    white = np.random.default_rng(round(100 * grain_pixels)).standard_normal((_TILE, _TILE))
    smooth = ndimage.gaussian_filter(white, grain_pixels / 2, mode="wrap")
    tile: Field = ((smooth - smooth.mean()) / smooth.std()).astype(np.float32)
    tile.flags.writeable = False
    return tile


def ellipse(canvas: Canvas, centre: Point, radii: tuple[float, float], angle: float, window: Window = WHOLE) -> Field:
    """Distance to an ellipse, near its edge to within its flatness; radii in um, angle in radians."""
    x, y = canvas.axes()
    x, y = x[:, window[1]] - np.float32(centre[0]), y[window[0]] - np.float32(centre[1])
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    along = (x * cos + y * sin) / np.float32(radii[0])
    across = (y * cos - x * sin) / np.float32(radii[1])
    return (np.sqrt(along * along + across * across) - 1) * np.float32(np.sqrt(radii[0] * radii[1]))


def chain(canvas: Canvas, starts: NDArray[np.float64], ends: NDArray[np.float64], radii: NDArray[np.float64]) -> Field:
    """Distance to a union of rods with round ends.

    Args:
        canvas: where to draw.
        starts: [K, 2], um.
        ends: [K, 2], um.
        radii: [K, 2], at start and end, um.
    """
    x, y = canvas.axes()
    reach = np.concatenate([starts, ends])
    pad = radii.max() + 1.5
    # Far from the rods the exact distance does not matter, so only their surroundings are computed.
    columns = slice(*np.searchsorted(x[0], [reach[:, 0].min() - pad, reach[:, 0].max() + pad]))
    rows = slice(*np.searchsorted(y[:, 0], [reach[:, 1].min() - pad, reach[:, 1].max() + pad]))
    s, e, r = (array.astype(np.float32)[:, :, None, None] for array in (starts, ends, radii))  # [K, 2, 1, 1]
    dx, dy = e[:, 0] - s[:, 0], e[:, 1] - s[:, 1]
    px, py = x[:, columns] - s[:, 0], y[rows] - s[:, 1]  # [K, 1, w], [K, h, 1]
    length = np.maximum(dx * dx + dy * dy, np.float32(1e-6))
    part = np.clip(px * (dx / length) + py * (dy / length), 0, 1)  # [K, h, w]
    ox, oy = px - part * dx, py - part * dy
    distance = np.full((canvas.pixels, canvas.pixels), 1.5, dtype=np.float32)
    distance[rows, columns] = (np.sqrt(ox * ox + oy * oy) - r[:, 0] - part * (r[:, 1] - r[:, 0])).min(axis=0)
    return distance


def dent(distance: Field, other: Field, soft_um: float) -> Field:
    """Take the other shape out of this one, with a rounded edge."""
    return -_smooth_minimum(-distance, other, soft_um)


def _smooth_minimum(a: Field, b: Field, soft_um: float) -> Field:
    gap = np.clip(1 - np.abs(a - b) / np.float32(soft_um), 0, 1)
    joined: Field = np.minimum(a, b) - gap * gap * np.float32(soft_um / 4)
    return joined
