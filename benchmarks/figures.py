"""The figures of docs/explanation.md: one test cell of every class, where its channels look, and which pixels decided.

The cells are the first of each class among the model's test images (split.json of its run folder), right or wrong.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from leukonca import CLASSES, Explainer, Explanation
from leukonca.data.centers import CENTERS
from leukonca.data.images import read_image
from leukonca.drawing import canvas, styled, write_figure
from leukonca.explain import panels
from leukonca.explain.where import region


@dataclass(frozen=True)
class Settings:
    """What to draw."""

    model: Path = Path("runs/acevedo20-compact")
    data: Path = Path("../shared/data/acevedo20")
    out: Path = Path("docs/figures")
    a_figure: int = 5
    """Cells in a figure: small files for the documents."""


def first_of_each(paths: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted(paths):
        center = CENTERS["acevedo20"]
        name = center.labels.get(center.own_label(path) or "")
        if name is not None:
            found.setdefault(name, path)
    return {name: found[name] for name in CLASSES if name in found}


def draw(cells: dict[str, Explanation], out: Path) -> None:
    side, gap = 1.6, 0.08
    width, height = 0.1 + (side + gap) * len(cells), 0.53 + 3 * (side + gap)
    with styled(grid=False):
        figure = canvas(width, height, arrange=False)
        for column, (truth, e) in enumerate(cells.items()):
            for row, values in enumerate((None, e.heat(), e.pixel_map())):
                left, top = 0.1 + column * (side + gap), 0.5 + row * (side + gap)
                axes = figure.add_axes((left / width, 1 - (top + side) / height, side / width, side / height))
                if values is None:
                    panels.show(axes, e.image)
                    right = e.predicted == truth
                    said = f"{100 * e.probabilities.max():.0f}%" if right else f"called\n{short(e.predicted)}"
                    axes.set_title(f"{short(truth)}\n{said}", size=8)
                    if column == 0:
                        panels.scale_bar(axes, len(e.image), e.um_per_cell)
                    continue
                limit = panels.signed_limit(values, 0.995)
                shade = panels.sign_colors(values, limit)[:, :, :3]
                opacity = np.sqrt(np.clip(np.abs(values) / limit, 0, 1))[:, :, None]
                mixed = 255 * opacity * shade + (1 - opacity) * panels.grey(e.image)
                panels.show(axes, mixed.astype(np.uint8) & 0xF8)  # fewer shades: a small file
                for sign, color in ((1, panels.FOR), (-1, panels.AGAINST)):
                    strong = region(sign * values) & (sign * values > 0.3 * limit)
                    panels.outline(axes, strong, color, dashed=sign < 0, width=0.9)
        write_figure(figure, out)


def short(name: str) -> str:
    return name.replace("_", " ").replace("neutrophil", "neutr.").replace("lymphocyte typical", "lymphocyte")


def main(settings: Settings) -> None:
    split = json.loads((settings.model / "split.json").read_text(encoding="utf-8"))["test"]
    explainer = Explainer(settings.model)
    chosen = first_of_each(split)
    cells = {name: explainer(read_image(settings.data / path)) for name, path in chosen.items()}
    names = list(cells)
    for low in range(0, len(names), settings.a_figure):
        path = settings.out / f"acevedo20-explained-{1 + low // settings.a_figure}.svg"
        draw({name: cells[name] for name in names[low : low + settings.a_figure]}, path)
        print(f"{path}: {path.stat().st_size // 1000} kB")
    for name, path in chosen.items():
        print(f"{name:<22}{path:<40}{cells[name].predicted} {cells[name].probabilities.max():.2f}")


if __name__ == "__main__":
    main(tyro.cli(Settings))
