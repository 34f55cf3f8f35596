"""Which automaton of one pixel a cell learns most in a given time? How docs/recipes/plain.toml was chosen.

Each variant trains for about the same processor time on one center's training folds and is scored on 500 of its
validation images; the test fold is not touched. Speeds are measured first, on this machine, so that every variant gets
the number of images that fits. Processor time, all threads together, is fairer than wall time on a shared machine.
"""

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import tyro

from leukonca import NCAClassifier
from leukonca.data.cells import load_cells
from leukonca.data.splits import split_cells
from leukonca.models.presets import Architecture
from leukonca.training.loop import train
from leukonca.training.recipe import Recipe
from leukonca.training.recipe_files import read_plan

VARIANTS = {
    "48 channels, 24 steps, grid 32": Architecture(channels=48, hidden=96, steps=24, grid=32),
    "32 channels, 24 steps, grid 32": Architecture(channels=32, hidden=64, steps=24, grid=32),
    "64 channels, 24 steps, grid 32": Architecture(channels=64, hidden=128, steps=24, grid=32),
    "48 channels, 16 steps, grid 32": Architecture(channels=48, hidden=96, steps=16, grid=32),
    "48 channels, 24 steps, grid 48": Architecture(channels=48, hidden=96, steps=24, grid=48),
}


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    data: Path = Path("../shared/data/acevedo20")
    seconds: float = 200.0
    """Processor time of training, for each variant."""
    only: tuple[int, ...] = ()
    """Numbers of the variants to run; none: all."""


def images_per_processor_second(architecture: Architecture, batch: int = 16) -> float:
    model = NCAClassifier.from_architecture(architecture)
    torch.nn.init.normal_(model.update_weight, std=0.01)
    images = torch.randn(batch, 3, architecture.grid, architecture.grid)
    times = []
    for _ in range(6):
        began = time.process_time()
        model(images).square().sum().backward()
        times.append(time.process_time() - began)
    return batch / sorted(times)[2]


def recipe(architecture: Architecture, images: int) -> Recipe:
    base = read_plan(Path(__file__).parent.parent / "docs" / "recipes" / "plain.toml").recipe
    return replace(
        base,
        architecture=architecture,
        small_grid=None,
        small_grid_epochs=0,
        epochs=1,
        draws=images,
        warmup=50,
        margin=5,
    )


def main(settings: Settings) -> None:
    for number, (name, architecture) in enumerate(VARIANTS.items()):
        if settings.only and number not in settings.only:
            continue
        speed = images_per_processor_second(architecture)
        chosen = recipe(architecture, int(speed * settings.seconds))
        cells = load_cells("acevedo20", settings.data, chosen.preprocessing)
        with TemporaryDirectory() as folder:
            began = time.process_time()
            train(cells, split_cells(cells, fold=0), chosen, Path(folder), quiet=True)
            log = json.loads((Path(folder) / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])
        print(
            f"{number} {name:<32} {chosen.draws:>6} images, {time.process_time() - began:4.0f} s of processor time, "
            f"training accuracy {log['accuracy']:.1%}, validation accuracy {log['validation_accuracy']:.1%}",
            flush=True,
        )


if __name__ == "__main__":
    main(tyro.cli(Settings))
