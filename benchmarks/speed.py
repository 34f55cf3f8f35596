"""How fast a preset predicts and trains on this machine, against plain eager PyTorch; `make bench`.

Both are measured in one run, interleaved; medians are printed and kept as JSON.
"""

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
import tyro

from leukonca import NCAClassifier
from leukonca.models.presets import preset
from rival import EagerNCA


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    presets: tuple[str, ...] = ("compact", "paper")
    repeats: int = 3
    out: Path = Path("benchmarks/results/speed.json")


def seconds(run: Callable[..., object], *arguments: object) -> float:
    began = time.perf_counter()
    run(*arguments)
    return time.perf_counter() - began


@torch.no_grad()
def predict(model: torch.nn.Module, images: torch.Tensor) -> None:
    model(images)


def train(model: torch.nn.Module, images: torch.Tensor) -> None:
    model.zero_grad()
    model(images).square().sum().backward()


def matrix_rate() -> float:
    """GFLOP/s of this machine's own float32 matrix product."""
    a = torch.randn(1024, 1024)
    best = min(seconds(torch.matmul, a, a) for _ in range(8))
    return 2 * 1024**3 / best / 1e9


def work(name: str) -> float:
    """Multiply-adds of one image, firing cells only."""
    a = preset(name)
    cell = 3 * a.channels * a.hidden + a.hidden * a.channels + 18 * a.channels
    return a.steps * a.grid**2 * a.fire_rate * cell


def main(settings: Settings) -> None:
    rows = []
    for name in settings.presets:
        a = preset(name)
        ours = NCAClassifier(preset=name)
        torch.nn.init.normal_(ours.update_weight, std=0.01)
        rival = EagerNCA(a.channels, a.hidden, a.steps, a.fire_rate)
        for job, batch in (("predict", 1), ("predict", 16), ("train", 4)):
            images = torch.randn(batch, 3, a.grid, a.grid)

            run = predict if job == "predict" else train
            run(ours, images)  # compiles
            times: dict[str, list[float]] = {"ours": [], "rival": []}
            for _ in range(settings.repeats):
                times["ours"].append(seconds(run, ours, images))
                times["rival"].append(seconds(run, rival, images))
            median = {who: statistics.median(values) for who, values in times.items()}
            factor = 1 if job == "predict" else 3
            rate = 2 * factor * work(name) * batch / median["ours"] / 1e9
            row = {
                "preset": name,
                "job": job,
                "batch": batch,
                "images_per_second": batch / median["ours"],
                "rival_images_per_second": batch / median["rival"],
                "times_faster": median["rival"] / median["ours"],
                "gflops": rate,
                "matrix_product_gflops": matrix_rate(),
            }
            rows.append(row)
            print(
                f"{name:<8} {job:<8} batch {batch:>2}: {row['images_per_second']:8.2f} images/s, eager "
                f"{row['rival_images_per_second']:7.2f}, {row['times_faster']:5.1f} x, {rate:5.0f} GFLOP/s of "
                f"{row['matrix_product_gflops']:.0f}",
                flush=True,
            )
    facts = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "rows": rows,
    }
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    settings.out.write_text(json.dumps(facts, indent=2) + "\n")
    print(f"kept in {settings.out}")


if __name__ == "__main__":
    main(tyro.cli(Settings))
