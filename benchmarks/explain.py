"""How long does an explanation take? One cell at a preset, with random weights: channels, pixels, the page."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import tyro

from leukonca import NCAClassifier
from leukonca.explain.explainer import Explainer
from leukonca.report.explanation import Setting, write_page


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


def seconds(call: Callable[[], object], repeats: int) -> str:
    walls, busy = [], []
    for _ in range(repeats + 1):  # the first one compiles
        began, worked = time.perf_counter(), time.process_time()
        call()
        walls.append(time.perf_counter() - began)
        busy.append(time.process_time() - worked)
    return f"{min(walls[1:]):.2f} ({min(busy[1:]):.2f})"


def measure(preset: str, repeats: int) -> str:
    explainer = Explainer(model(preset))
    image = np.random.default_rng(0).integers(0, 256, (360, 360, 3), dtype=np.uint8)
    found = explainer(image)
    with TemporaryDirectory() as folder:
        page = Path(folder) / "1.html"
        jobs = {
            "channels": lambda: explainer(image, pixels=False),
            "and pixels": lambda: explainer(image),
            "and pixels, epsilon 0": lambda: explainer(image, epsilon=0),
            "its page": lambda: write_page(page, found, "a", Setting("", "")),
        }
        return f"{preset:<8} " + "; ".join(f"{name} {seconds(job, repeats)}" for name, job in jobs.items())


def main(settings: Settings) -> None:
    print(f"{torch.get_num_threads()} threads; seconds a cell, best of {settings.repeats} (processor time)")
    for preset in settings.presets:
        print(measure(preset, settings.repeats), flush=True)


if __name__ == "__main__":
    main(tyro.cli(Settings))
