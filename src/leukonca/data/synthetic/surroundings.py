"""What lies around a SYNTHETIC cell: red cells, platelets, a stained film."""

import numpy as np

from leukonca.data.synthetic.fields import Canvas, Point, ellipse
from leukonca.data.synthetic.optics import Amounts, SyntheticCenter

RED_CELL_UM = 7.2
"""Diameter of a red cell, um."""


def surroundings(center: SyntheticCenter, centre: Point, radius: float, rng: np.random.Generator) -> Amounts:
    """Dye amounts [H, W] of a field with room for a cell of `radius` um at `centre`; red cells may be cut off."""
    canvas = center.canvas
    shape = (canvas.pixels, canvas.pixels)
    amounts = Amounts(*(np.zeros(shape, dtype=np.float32) for _ in range(4)))
    amounts.eosin += np.float32(0.015) * np.maximum(canvas.texture(5.0, rng), 0)
    placed: list[Point] = []
    for _ in range(int(rng.poisson(center.red_cells * canvas.um**2 / 100))):
        size = rng.normal(RED_CELL_UM / 2, 0.25)
        x, y = rng.uniform(-canvas.um / 2 - 2, canvas.um / 2 + 2, 2)
        clear = np.hypot(x - centre[0], y - centre[1]) > radius + 0.7 * size
        if clear and all(np.hypot(x - u, y - v) > 0.75 * RED_CELL_UM for u, v in placed):
            placed.append((x, y))
            _red_cell(amounts, canvas, (x, y), size, rng)
    for _ in range(int(rng.integers(0, 3))):
        x, y = rng.uniform(-canvas.um / 2, canvas.um / 2, 2)
        if np.hypot(x - centre[0], y - centre[1]) > radius + 1.5:
            _platelet(amounts, canvas, (x, y), rng)
    return amounts


def _red_cell(amounts: Amounts, canvas: Canvas, place: Point, size: float, rng: np.random.Generator) -> None:
    flat = 1 + 0.15 * rng.random()
    window = canvas.window(place, 1.2 * size + 1)
    distance = ellipse(canvas, place, (size * flat, size / flat), rng.uniform(0, np.pi), window)
    inward = (distance + np.float32(size)) / np.float32(size * rng.uniform(0.4, 0.6))
    pallor = np.float32(rng.uniform(0.5, 1.0)) * np.exp(-inward * inward * inward)
    disc = canvas.coverage(distance, 0.5)
    amounts.hemoglobin[window] += disc * (1 - pallor) * np.float32(rng.normal(1, 0.12))


def _platelet(amounts: Amounts, canvas: Canvas, place: Point, rng: np.random.Generator) -> None:
    size = rng.uniform(0.8, 1.5)
    window = canvas.window(place, size + 1.5)
    distance = ellipse(canvas, place, (size, size * 0.8), rng.uniform(0, np.pi), window)
    speckled = np.maximum(1 + np.float32(0.5) * canvas.texture(0.6, rng)[window], 0)
    cover = canvas.coverage(distance + np.float32(0.2) * canvas.texture(1.0, rng)[window], 0.4)
    amounts.azure[window] += np.float32(0.45) * cover * speckled
