"""Outlines of the nuclei of SYNTHETIC cells, as distance fields."""

import numpy as np
from numpy.typing import NDArray

from leukonca.data.synthetic.fields import Canvas, Field, Point, chain, dent, ellipse


def round_nucleus(
    canvas: Canvas, centre: Point, cell_radius: float, share: float, eccentric: float, rng: np.random.Generator
) -> Field:
    """A disc or egg somewhere between the cell's middle and its edge."""
    radius = cell_radius * share
    away = (cell_radius - radius) * eccentric * rng.random()
    angle = rng.uniform(0, 2 * np.pi)
    middle = (centre[0] + away * np.cos(angle), centre[1] + away * np.sin(angle))
    stretch = 1 + 0.1 * rng.random()
    distance = ellipse(canvas, middle, (radius * stretch, radius / stretch), rng.uniform(0, np.pi))
    return distance + np.float32(0.04 * radius) * canvas.texture(3.0, rng)


def kidney_nucleus(
    canvas: Canvas,
    centre: Point,
    cell_radius: float,
    share: float,
    notch: float,
    eccentric: float,
    rng: np.random.Generator,
) -> Field:
    """An egg with a rounded notch, `notch` of its radius deep, in the long side that faces the middle."""
    radius = cell_radius * share
    away = (cell_radius - radius) * eccentric * rng.random()
    angle = rng.uniform(0, 2 * np.pi)
    toward = np.array([-np.cos(angle), -np.sin(angle)])  # from the nucleus to the cell's middle
    middle = np.array(centre) - away * toward
    stretch = 1.08 + 0.15 * notch
    flat = radius / stretch
    body = ellipse(canvas, (middle[0], middle[1]), (radius * stretch, flat), angle + np.pi / 2)
    hole = radius * (0.3 + 0.35 * rng.random())
    place = middle + toward * (flat + hole - notch * flat)
    gap = ellipse(canvas, (place[0], place[1]), (hole, hole), 0.0)
    return dent(body, gap, 0.35 * radius) + np.float32(0.053 * radius) * canvas.texture(2.5, rng)


def band_nucleus(canvas: Canvas, centre: Point, cell_radius: float, width: float, rng: np.random.Generator) -> Field:
    """A bent rod, from a U to almost a ring or an S, of nearly even width (share of the cell's radius)."""
    count = 9
    along = np.linspace(-0.5, 0.5, count)
    bend = rng.uniform(0, 2 * np.pi)
    if rng.random() < 0.12:
        curve = np.stack([1.25 * along, 0.28 * np.sin(along * 2 * np.pi)], axis=1)  # an S
    else:
        angles = along * np.deg2rad(rng.uniform(170, 290))
        curve = rng.uniform(0.46, 0.56) * np.stack([np.cos(angles) - 0.12, np.sin(angles)], axis=1)
    points = np.array(centre) + cell_radius * _turned(curve + rng.normal(0, 0.02, curve.shape), bend)
    bulge = 1 + 0.22 * np.abs(2 * along) ** 2 * rng.random() - 0.12 * rng.random(count)
    radii = cell_radius * width * bulge
    distance = chain(canvas, points[:-1], points[1:], np.stack([radii[:-1], radii[1:]], axis=1))
    return distance + np.float32(0.15) * canvas.texture(1.8, rng)


def lobed_nucleus(canvas: Canvas, centre: Point, cell_radius: float, lobes: int, rng: np.random.Generator) -> Field:
    """Lobes on a bent row, joined by thin bridges."""
    span = np.deg2rad({2: 150, 3: 200, 4: 250}.get(lobes, 290)) * rng.uniform(0.7, 1.1)
    angles = np.linspace(-span / 2, span / 2, lobes) + rng.normal(0, 0.2, lobes)
    out = {2: 0.42, 3: 0.5}.get(lobes, 0.54) * rng.uniform(0.7, 1.15, lobes)
    spots = np.stack([np.cos(angles), np.sin(angles)], axis=1) * out[:, None]
    spots -= 0.4 * spots.mean(axis=0)
    size = {2: 0.36, 3: 0.29, 4: 0.25}.get(lobes, 0.22) * rng.uniform(0.75, 1.2, lobes)
    tilt = angles + np.pi / 2 + rng.normal(0, 0.5, lobes)
    half = (rng.uniform(0.15, 0.6, lobes) * size)[:, None] * np.stack([np.cos(tilt), np.sin(tilt)], axis=1)
    starts, ends = spots - half, spots + half
    thin = rng.uniform(0.05, 0.11, lobes - 1)
    rods = np.concatenate([starts, ends[:-1]]), np.concatenate([ends, starts[1:]])
    radii = np.concatenate([np.stack([size, size], axis=1), np.stack([thin, thin], axis=1)])
    turn = rng.uniform(0, 2 * np.pi)
    starts, ends = (np.array(centre) + cell_radius * _turned(points, turn) for points in rods)
    return chain(canvas, starts, ends, cell_radius * radii) + np.float32(0.13) * canvas.texture(1.6, rng)


def _turned(points: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    cos, sin = np.cos(angle), np.sin(angle)
    turned: NDArray[np.float64] = points @ np.array([[cos, sin], [-sin, cos]])
    return turned
