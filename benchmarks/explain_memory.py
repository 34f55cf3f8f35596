"""Does `leukonca explain` need more memory for more cells? Peak memory of one run, read on the way. Linux alone.

The command itself runs, as a user calls it; beside it the pages are counted, and the process's peak is read when so
many are there. A small model, because every page is drawn whatever the model.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import torch
import tyro
from PIL import Image

from explain import model
from leukonca import CLASSES
from leukonca.data.synthetic import SYNTHETIC_CENTERS, draw_cell
from measuring import Row, keep, machine

DIFFERENT = 20
"""Images; the others are links to them, which are read and explained like any."""


def peak_mb(process: int) -> float:
    """Peak resident memory so far, MB."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1000


def images(folder: Path, count: int) -> None:
    folder.mkdir()
    for number in range(count):
        path = folder / f"{number:05d}.png"
        if number < DIFFERENT:
            cell, _ = draw_cell(SYNTHETIC_CENTERS[0], CLASSES[number % len(CLASSES)], number, 0)
            Image.fromarray(cell).save(path)
        else:
            os.link(folder / f"{number % DIFFERENT:05d}.png", path)


def measure(counts: tuple[int, ...], preset: str, where: Path) -> list[Row]:
    images(where / "cells", max(counts))
    torch.manual_seed(0)
    model(preset).save(where / "model")
    out, rows = where / "why", []
    words = ["explain", str(where / "model"), str(where / "cells"), "--out", str(out), "--quiet", "--mask", "auto"]
    running = subprocess.Popen([sys.executable, "-m", "leukonca", *words])
    for count in sorted(counts):
        while running.poll() is None and len(list(out.glob("*-*.html"))) < count:
            time.sleep(0.02)
        if running.poll() is not None:
            raise SystemExit(f"explain ended with {running.returncode} before {count} pages were there")
        rows.append({"cells": count, "peak_mb": peak_mb(running.pid)})
        print(f"{count} cells: {rows[-1]['peak_mb']:.0f} MB", flush=True)
    if running.wait():
        raise SystemExit(f"explain ended with {running.returncode}")
    return rows


def main(
    counts: Annotated[tuple[int, ...], tyro.conf.arg(metavar="N...")] = (50, 200, 800), preset: str = "tiny"
) -> None:
    """Measure.

    Args:
        counts: After how many cells the peak is read.
        preset: Of the model.
    """
    facts = machine()
    with TemporaryDirectory() as folder:
        rows = measure(counts, preset, Path(folder))
    sizes = np.array([[row["cells"], row["peak_mb"]] for row in rows])
    slope = float(np.polyfit(*sizes.T, 1)[0]) if len(rows) > 1 else 0.0
    print(f"{1000 * slope:.1f} kB more for each cell")
    keep("explain_memory", {**facts, "preset": preset, "rows": rows})


if __name__ == "__main__":
    tyro.cli(main)
