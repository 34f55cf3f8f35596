"""How good is the stain-based guess of where the cell is? Intersection over union with JTSC's hand-drawn masks.

JTSC is for testing only: nothing in the segmentation was chosen by looking at it.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from leukonca.data.images import read_image
from leukonca.errors import DataError
from leukonca.explain.masks import MaskFolder
from leukonca.explain.segmentation import segment


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    images: Path = Path("../shared/data/jtsc")
    masks: Path = Path("../shared/data/jtsc-masks")


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


def main(settings: Settings) -> None:
    masks = MaskFolder(settings.masks)
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    refused = 0
    for path in sorted(settings.images.rglob("*.png")):
        image = read_image(path)
        wanted = masks.read(path, image)
        try:
            guess = segment(image)
        except DataError:
            refused += 1
            guess = np.zeros_like(wanted)
        scores = overlap(wanted > 0, guess > 0), overlap(wanted == 255, guess == 255)
        for name in (path.parent.name, "all"):
            found[name].append(scores)
    print(f"| cells | n | cell, mean IoU | above 0.5 | nucleus, mean IoU | above 0.5 |\n|{'---|' * 6}")
    for name, values in found.items():
        cell, nucleus = np.array(values).T
        print(
            f"| {name} | {len(values)} | {cell.mean():.3f} | {(cell > 0.5).mean():.0%} "
            f"| {nucleus.mean():.3f} | {(nucleus > 0.5).mean():.0%} |"
        )
    print(f"{refused} images without a guess count as 0")


if __name__ == "__main__":
    main(tyro.cli(Settings))
