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


def seconds(call: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats + 1):  # the first one compiles
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return float(np.median(times[1:]))


def measure(preset: str, repeats: int) -> str:
    explainer = Explainer(model(preset))
    image = np.random.default_rng(0).integers(0, 256, (360, 360, 3), dtype=np.uint8)
    channels = seconds(lambda: explainer(image, pixels=False), repeats)
    exact = seconds(lambda: explainer(image, epsilon=0), repeats)
    pixels = seconds(lambda: explainer(image), repeats)
    found = explainer(image)
    with TemporaryDirectory() as folder:
        page = seconds(lambda: write_page(Path(folder) / "1.html", found, "a", Setting("", "")), repeats)
    return f"{preset:<8} channels {channels:.2f}, and pixels {pixels:.2f} (epsilon 0: {exact:.2f}), page {page:.2f}"


def main(settings: Settings) -> None:
    print(f"{torch.get_num_threads()} threads; median of {settings.repeats}, seconds a cell")
    for preset in settings.presets:
        print(measure(preset, settings.repeats), flush=True)


if __name__ == "__main__":
    main(tyro.cli(Settings))
