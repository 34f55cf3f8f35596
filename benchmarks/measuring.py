"""How everything here is measured: two models with the same weights, runs in turns, medians of several."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import threadpoolctl
import torch
from torch import Tensor, nn
from torch.nn import functional

import leukonca
from leukonca.models.presets import Architecture
from leukonca.threads import default_threads
from rival import EagerNCA

HERE = Path(__file__).parent
RESULTS = HERE / "results"

Row = dict[str, Any]


@dataclass(frozen=True)
class Effort:
    """How much to do.

    Args:
        quick: tiny models and few repeats: shows that a part works; its numbers mean nothing.
        repeats: of every measurement; the median counts.
    """

    quick: bool = False
    repeats: int = 5

    def __post_init__(self) -> None:
        if self.quick:
            object.__setattr__(self, "repeats", 1)

    @property
    def fewer(self) -> int:
        """Repeats where there is much to measure."""
        return min(3, self.repeats)

    @property
    def architecture(self) -> Architecture:
        """What the figures of merit are measured with."""
        return Architecture(channels=16, hidden=16, steps=4, grid=16) if self.quick else Architecture()


def pair(a: Architecture, engine: str = "auto") -> tuple[leukonca.NCAClassifier, EagerNCA]:
    """Ours and the rival, with the same weights, such that states stay bounded over many steps."""
    torch.manual_seed(0)
    ours = leukonca.NCAClassifier.from_architecture(a, engine=engine)
    nn.init.normal_(ours.update_weight, std=0.01)
    return ours, EagerNCA(a).take_weights(ours)


def check_same_function(a: Architecture) -> float:
    """Largest difference of the two models' logits when every cell fires, relative to the largest logit.

    Raises:
        SystemExit: they are not the same model, and comparing their speed would mean nothing.
    """
    ours, rival = pair(replace(a, fire_rate=1.0))
    images = pictures(2, a.grid)
    with torch.no_grad():
        expected, found = rival(images), ours(images)
    difference = float((found - expected).abs().max() / expected.abs().max())
    if not difference < 1e-3:
        raise SystemExit(f"the rival's logits differ from ours by {difference:.1e}: not the same model")
    return difference


def pictures(batch: int, height: int, width: int | None = None) -> Tensor:
    return torch.randn(batch, 3, height, width or height, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def predict(model: nn.Module, images: Tensor) -> Tensor:
    logits: Tensor = model(images)
    return logits


def train(model: nn.Module, images: Tensor) -> None:
    """A training step without the optimiser, which is the same for all."""
    model.zero_grad(set_to_none=True)
    labels = torch.arange(len(images)) % 13
    functional.cross_entropy(model(images), labels).backward()


JOBS: dict[str, Callable[[nn.Module, Tensor], object]] = {"predict": predict, "train": train}


def seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def in_turns(runs: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each, all run once, then all again: what slows the machine for a while slows all of them."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            times[name].append(seconds(run))
    return {name: statistics.median(values) for name, values in times.items()}


def multiply_adds(a: Architecture, images: int, seed: int = 0) -> float:
    """What the equations ask of a forward pass for the cells that fire, and for no others.

    A firing cell takes two depthwise 3 x 3 filters (18 C), the hidden layer (3 C x hidden) and the change
    (hidden x C). The head is left out: 18 thousand against 9 thousand million.
    """
    firing = sum(int(leukonca.fire_mask(seed, step, a.cells, a.cells, a.fire_rate).sum()) for step in range(a.steps))
    return images * firing * (18 * a.channels + 3 * a.channels * a.hidden + a.hidden * a.channels)


def passes(job: str) -> int:
    """Forward passes' worth of work: the backward pass of a product is two products. Recomputation is not counted."""
    return 1 if job == "predict" else 3


def machine() -> Row:
    """What the numbers belong to."""
    libraries = {
        f"{info['internal_api']} {info['version']}": info["num_threads"]
        for info in threadpoolctl.threadpool_info()
        if info["user_api"] == "blas"
    }
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python", *sys.argv]),
        "processor": _processor(),
        "processors_usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "load_before": round(os.getloadavg()[0], 2),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("leukonca", "numpy", "scipy", "numba", "torch", "onnxruntime")},
        "blas_threads": libraries,
    }


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def use_all_threads() -> None:
    """As many as the automaton takes by itself: OMP_NUM_THREADS, or all processors that this process may use."""
    torch.set_num_threads(default_threads())


def alone(script: str, question: Mapping[str, Any], **environment: str) -> Row:
    """The answer of one of these scripts in a new process: JSON as its argument, JSON on its standard output."""
    words = [sys.executable, str(HERE / script), json.dumps(question)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=os.environ | environment)
    if done.returncode:
        raise SystemExit(f"{script} {question}: ended with {done.returncode}\n{done.stderr}")
    answer: Row = json.loads(done.stdout.splitlines()[-1])
    return answer


def keep(part: str, results: Row) -> None:
    """Write a part's results."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{part}.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
