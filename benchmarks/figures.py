"""The figures of docs/tutorial.md: one test cell of every class, where its channels look, and which pixels decided.

The cells are the first of each class among the model's test images (split.json of its run folder), right or wrong.
"""

import sys
from pathlib import Path

import numpy as np
import tyro
from matplotlib.lines import Line2D
from tyro.conf import Positional

from leukonca import Explanation
from leukonca.data.images import read_image
from leukonca.drawing import canvas, styled, write_figure
from leukonca.explain import panels
from leukonca.explain.where import region
from subject import CENTER, Subject

A_FIGURE = 5
"""Cells in a figure: small files for the documents."""


ROWS = ("what the model saw", "where its channels look", "which pixels it comes from")


def draw(cells: dict[str, Explanation], out: Path) -> None:
    side, gap, before, above = 1.6, 0.08, 0.28, 0.52
    width, height = before + (side + gap) * len(cells), above + 3 * (side + gap) + 0.28
    with styled(grid=False):
        figure = canvas(width, height, arrange=False)
        for column, (truth, e) in enumerate(cells.items()):
            for row, values in enumerate((None, e.heat(), e.pixel_map())):
                left, top = before + column * (side + gap), above + row * (side + gap)
                axes = figure.add_axes((left / width, 1 - (top + side) / height, side / width, side / height))
                if values is None:
                    panels.show(axes, e.image)
                    certain = f"{100 * e.probabilities.max():.0f}%"
                    said = certain if e.predicted == truth else f"called {short(e.predicted)}, {certain}"
                    axes.set_title(f"{short(truth)}\n{said}", size=8)
                    if column == 0:
                        panels.scale_bar(axes, len(e.image), e.um_per_pixel)
                    continue
                limit = panels.signed_limit(values, 0.995)
                shade = panels.sign_colors(values, limit)[:, :, :3]
                opacity = np.sqrt(np.clip(np.abs(values) / limit, 0, 1))[:, :, None]
                mixed = 255 * opacity * shade + (1 - opacity) * panels.grey(e.image)
                panels.show(axes, mixed.astype(np.uint8) & 0xF8)  # fewer shades: a small file
                for sign, color in ((1, panels.FOR), (-1, panels.AGAINST)):
                    strong = region(sign * values) & (sign * values > 0.3 * limit)
                    panels.outline(axes, strong, color, dashed=sign < 0, width=0.9)
        for row, label in enumerate(ROWS):
            middle = above + row * (side + gap) + side / 2
            figure.text(0.5 * before / width, 1 - middle / height, label, size=8, rotation=90, ha="center", va="center")
        keys = [
            Line2D([], [], color=panels.FOR, label="speaks for the class that the model gives"),
            Line2D([], [], color=panels.AGAINST, linestyle=(0, (1.5, 1.0)), label="speaks against it"),
        ]
        figure.legend(handles=keys, loc="lower center", ncols=2, fontsize=8, borderaxespad=0.1)
        write_figure(figure, out)


def short(name: str) -> str:
    """A name that fits over a cell."""
    return name.replace("_", " ").replace("neutrophil", "neutr.").replace("lymphocyte typical", "lymphocyte")


def main(model: Positional[str], shared: Path = Path("../shared/data"), out: Path = Path("docs/figures")) -> None:
    """Draw.

    Args:
        model: A run folder or the name of a shipped model, trained on a fold of Acevedo-20.
        shared: The folder with the folder acevedo20.
        out: The folder of the figures.
    """
    subject = Subject(model, shared)
    chosen = {name: min(paths) for name, paths in subject.by_class(sys.maxsize, "test").items()}
    cells = {name: subject.explain(read_image(shared / CENTER / path)) for name, path in chosen.items()}
    names = list(cells)
    for low in range(0, len(names), A_FIGURE):
        path = out / f"acevedo20-explained-{1 + low // A_FIGURE}.svg"
        draw({name: cells[name] for name in names[low : low + A_FIGURE]}, path)
        print(f"{path}: {path.stat().st_size // 1000} kB")
    for name, path in chosen.items():
        print(f"{name:<22}{path:<40}{cells[name].predicted} {cells[name].probabilities.max():.2f}")


if __name__ == "__main__":
    tyro.cli(main)
