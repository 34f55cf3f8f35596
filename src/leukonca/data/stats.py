"""How centers differ before any model sees them: their classes and their colors, as tables and as a picture."""

import csv
import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from leukonca.data.cells import Cells
from leukonca.data.colors import Color, color_statistics
from leukonca.data.preprocessing import Preprocessing
from leukonca.files import as_text, whole_file, write_text
from leukonca.taxonomy import CLASSES

PAPER = Preprocessing(grid=64)
"""Statistics are those of the whole image at 64 x 64, as the paper feeds it to its automaton."""

COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""Okabe and Ito's colors, told apart by color-blind readers too."""


@dataclass(frozen=True)
class CenterStats:
    """One center in numbers.

    Args:
        name: as shown, the name of the center or, of two folders of the same center, the folder as well.
        counts: images per class, in the order of `classes`.
        mean, std: of red, green, blue over all pixels of all images, 0..1.
        classes: that the images are labelled with.
    """

    name: str
    counts: tuple[int, ...]
    mean: Color
    std: Color
    classes: tuple[str, ...] = CLASSES

    @property
    def images(self) -> int:
        """Number of images."""
        return sum(self.counts)

    @property
    def majority(self) -> tuple[str, float]:
        """The largest class, and its share: what a model that always says it would score, 0..1."""
        largest = int(np.argmax(self.counts))
        return self.classes[largest], self.counts[largest] / self.images


def center_stats(name: str, cells: Cells) -> CenterStats:
    """Count classes and measure colors."""
    mean, std = color_statistics(cells.images)
    return CenterStats(name, tuple(cells.class_counts.values()), mean, std, cells.classes)


def class_rows(stats: Sequence[CenterStats]) -> dict[str, tuple[int | None, ...]]:
    """Class -> images of it in each center: the first center's classes in their order, then what others add.

    None: a center whose labels do not know the class, being coarser or finer.
    """
    counts = [dict(zip(center.classes, center.counts, strict=True)) for center in stats]
    names = dict.fromkeys(name for center in counts for name in center)
    return {name: tuple(center.get(name) for center in counts) for name in names}


def write_stats(stats: Sequence[CenterStats], out: Path) -> tuple[Path, ...]:
    """Write ``classes.csv``, ``colors.csv``, ``classes.png`` and ``classes.svg`` into a folder.

    Returns:
        The paths of the four files.

    Raises:
        UsageError: the folder cannot be written to.
    """
    out = Path(out)
    classes, colors, png, svg = (out / name for name in ("classes.csv", "colors.csv", "classes.png", "classes.svg"))
    rows = [[name, *counts] for name, counts in class_rows(stats).items()]
    write_text(classes, _csv([["class", *(center.name for center in stats)], *rows]))
    header = ["center", "images", "mean_r", "mean_g", "mean_b", "std_r", "std_g", "std_b"]
    measured = [[c.name, c.images, *(f"{v:.6f}" for v in (*c.mean, *c.std))] for c in stats]
    write_text(colors, _csv([header, *measured]))
    _save(class_figure(stats), png, svg)
    return classes, colors, png, svg


def class_figure(stats: Sequence[CenterStats]) -> Any:
    """The paper's figure 2: images per class, one panel a center, on a logarithmic scale.

    Returns:
        A matplotlib figure, not bound to any window.

    Source: Deutges et al. 2024, figure 2.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.4 + 2.9 * len(stats), 4.6), layout="constrained")
    panels = figure.subplots(1, len(stats), sharex=True, sharey=True, squeeze=False)[0]
    counted = class_rows(stats)
    rows = np.arange(len(counted))
    most = max(max(center.counts) for center in stats)
    for i, (panel, center, color) in enumerate(zip(panels, stats, _cycle(COLORS, len(stats)), strict=True)):
        numbers = [counts[i] for counts in counted.values()]
        panel.barh(rows, [count or 0 for count in numbers], color=color, height=0.72, log=True)
        for row, count in zip(rows, numbers, strict=True):
            text = "" if count is None else f"{count:,}" if count else "none"
            panel.text(max(count or 0, 0.5) * 1.15, row, text, va="center", fontsize=8, color="#333333")
        panel.set_title(f"{textwrap.fill(_plain(center.name), 32)}\n{center.images:,} images", fontsize=10)
        panel.set_xlim(0.5, most * 8)
        panel.xaxis.set_major_formatter("{x:,.0f}")
        panel.set_xlabel("images (logarithmic scale)", fontsize=9)
        panel.tick_params(axis="x", labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(rows, [name.replace("_", " ") for name in counted], fontsize=9)
    panels[0].invert_yaxis()
    return figure


def _plain(name: str) -> str:
    """A name as it is: what matplotlib would read as a formula, or could not write, is spelled out."""
    return as_text(name).replace("$", r"\$")


def _save(figure: Any, png: Path, svg: Path) -> None:
    """Both pictures, byte for byte the same for the same numbers."""
    from matplotlib import rc_context

    with whole_file(png) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
    with whole_file(svg) as temporary, rc_context({"svg.hashsalt": "leukonca"}):
        figure.savefig(temporary, format="svg", metadata={"Date": None})


def _cycle(colors: Sequence[str], count: int) -> list[str]:
    return [colors[i % len(colors)] for i in range(count)]


def _csv(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
