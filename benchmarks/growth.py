"""How time and memory grow with batch, grid, steps and channels: straight lines are expected."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from leukonca.models.presets import Architecture
from measuring import JOBS, Effort, Row, alone

BASE = {"channels": 32, "hidden": 64, "steps": 16, "grid": 64, "batch": 2}
"""Small, so that the largest of each series still fits a laptop. The hidden layer stays when channels grow: with both,
work would grow with the square."""

SERIES: dict[str, tuple[int, ...]] = {
    "batch": (1, 2, 4, 8, 16),
    "grid": (32, 64, 128, 256, 512),
    "steps": (8, 16, 32, 64),
    "channels": (16, 32, 64, 128, 256),
}
QUICK: dict[str, tuple[int, ...]] = {
    "batch": (1, 2, 3),
    "grid": (8, 12, 16),
    "steps": (1, 2, 4),
    "channels": (4, 8, 16),
}


def measure(effort: Effort) -> list[Row]:
    rows = []
    for what, values in (QUICK if effort.quick else SERIES).items():
        points = [_point(what, value, effort) for value in values]
        # Cells, not their side, are what a grid's work should be in proportion to.
        amounts = [value**2 if what == "grid" else value for value in values]
        for job in JOBS:
            times = [point[job]["seconds"] for point in points]
            memory = [point[job]["peak_mb"] for point in points]
            rows.append(
                {
                    "what": what,
                    "job": job,
                    "values": list(values),
                    "seconds": times,
                    "memory_mb": memory,
                    "seconds_off_line": off_line(amounts, times),
                    "memory_off_line": off_line(amounts, memory),
                    "exponent": float(np.polyfit(np.log(amounts), np.log(times), 1)[0]),
                }
            )
    return rows


def _point(what: str, value: int, effort: Effort) -> Row:
    settings = {**BASE, **({"grid": 16, "steps": 4} if effort.quick else {}), what: value}
    batch = settings.pop("batch")
    architecture = asdict(Architecture(**settings))
    question = {
        "who": "ours",
        "jobs": list(JOBS),
        "batch": batch,
        "repeats": effort.fewer,
        "architecture": architecture,
    }
    return alone("one.py", question)


def off_line(amounts: Sequence[float], values: Sequence[float]) -> float:
    """Largest relative distance of a point from the best straight line (least squares of relative distances)."""
    x, y = np.asarray(amounts, float), np.asarray(values, float)
    design = np.stack([np.ones_like(x), x], axis=1) / y[:, None]
    line, *_ = np.linalg.lstsq(design, np.ones_like(y), rcond=None)
    return float(np.abs(design @ line - 1).max())
