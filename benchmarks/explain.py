"""How long does an explanation take? One cell at a preset, with random weights: channels, pixels, the page."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
import tyro

from explanation_tables import markdown
from leukonca import NCAClassifier
from leukonca.explain.explainer import Explainer
from leukonca.report.explanation import Setting, write_page
from measuring import Row, keep, machine


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    presets: tuple[str, ...] = ("paper", "compact")
    repeats: int = 5


def model(preset: str) -> NCAClassifier:
    torch.manual_seed(0)
    made = NCAClassifier(preset=preset)
    torch.nn.init.normal_(made.update_weight, std=0.01)  # a trained automaton changes every cell, too
    made.config = replace(made.config, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    return made


def seconds(call: Callable[[], object], repeats: int) -> Row:
    walls, busy = [], []
    for _ in range(repeats + 1):  # the first one compiles
        began, worked = time.perf_counter(), time.process_time()
        call()
        walls.append(time.perf_counter() - began)
        busy.append(time.process_time() - worked)
    return {"seconds": median(walls[1:]), "processor_seconds": median(busy[1:])}


def measure(preset: str, repeats: int) -> list[Row]:
    explainer = Explainer(model(preset))
    image = np.random.default_rng(0).integers(0, 256, (360, 360, 3), dtype=np.uint8)
    found = explainer(image)
    with TemporaryDirectory() as folder:
        page = Path(folder) / "1.html"

        def whole() -> None:
            write_page(page, explainer(image), "a", Setting("", ""))

        jobs = {
            "channels": lambda: explainer(image, pixels=False),
            "channels and pixels": lambda: explainer(image),
            "its page": lambda: write_page(page, found, "a", Setting("", "")),
            "all of it": whole,
        }
        return [{"preset": preset, "what": name, **seconds(job, repeats)} for name, job in jobs.items()]


def main(settings: Settings) -> None:
    facts, rows = machine(), []
    for preset in settings.presets:
        rows += measure(preset, settings.repeats)
    results = {**facts, "repeats": settings.repeats, "rows": rows}
    print(markdown("explain", results))
    keep("explain", results)


if __name__ == "__main__":
    main(tyro.cli(Settings))
