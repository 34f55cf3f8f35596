"""What the measurements of `gpu.py` share: the card, sizes, a clock, and the file they end in."""

import argparse
import json
import statistics
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import torch
import triton


class Bench:
    """The JSON file, and what every part needs: device, sizes, a clock."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.device, self.small, self.out = torch.device(arguments.device), arguments.small, arguments.out
        self.until = time.monotonic() + 60 * arguments.minutes
        self.repeats = 1 if self.small else 5
        self.channels, self.hidden = (16, 16) if self.small else (128, 128)
        self.side, self.steps = (4, 2) if self.small else (64, 64)
        self.found: dict[str, Any] = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "device": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu",
            "torch": torch.__version__,
            "triton": triton.__version__,
        }

    def keep(self, part: str, name: str, measure: Callable[[], Any]) -> Any:
        """Measure, print, write; an error is a result too."""
        began = time.monotonic()
        try:
            result = measure() if began < self.until else "not measured: no time left"
        except Exception as error:
            traceback.print_exc()
            result = {"error": f"{type(error).__name__}: {error}"[:2000]}
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.found.setdefault(part, {})[name] = result
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.out.write_text(json.dumps(self.found, indent=2) + "\n")
        print(f"{part}: {name}: {json.dumps(result)} ({time.monotonic() - began:.0f} s)", flush=True)
        return result

    def seconds(self, run: Callable[[], object]) -> float:
        """Median of several runs after one that compiles."""
        run()
        return statistics.median(self.once(run) for _ in range(self.repeats))

    def in_turns(self, runs: Mapping[str, Callable[[], object]], batch: int) -> dict[str, dict[str, Any]]:
        """Images per second of each, medians, times those of the one named rival, and memory; all once, then again.

        One that fails leaves its error and takes no further part.
        """
        found: dict[str, dict[str, Any]] = {}
        for name, run in runs.items():
            try:
                found[name] = {"peak_gigabytes": self.peak(run)}
            except Exception as error:
                traceback.print_exc()
                found[name] = {"error": f"{type(error).__name__}: {error}"[:2000]}
        times: dict[str, list[float]] = {name: [] for name, facts in found.items() if "error" not in facts}
        for _ in range(self.repeats):
            for name in list(times):
                try:
                    times[name].append(self.once(runs[name]))
                except Exception as error:
                    traceback.print_exc()
                    found[name] = {"error": f"{type(error).__name__}: {error}"[:2000]}
                    del times[name]
        for name, taken in times.items():
            found[name]["images_per_second"] = batch / statistics.median(taken)
            if "rival" in times:
                pairs = zip(times["rival"], taken, strict=True)
                found[name]["times_the_rival"] = statistics.median(theirs / own for theirs, own in pairs)
        return found

    def once(self, run: Callable[[], object]) -> float:
        """Seconds of one run."""
        self.wait()
        began = time.perf_counter()
        run()
        self.wait()
        return time.perf_counter() - began

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def peak(self, run: Callable[[], object]) -> float | None:
        """Gigabytes of the card's memory that a run takes, its inputs included."""
        if self.device.type != "cuda":
            run()
            return None
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        run()
        self.wait()
        return torch.cuda.max_memory_allocated(self.device) / 1e9

    def images(self, batch: int) -> torch.Tensor:
        return torch.randn(batch, 3, self.side, self.side, device=self.device)

    def matrix_work(self, batch: int, steps: int) -> float:
        """Floating-point operations of the two layers, firing cells only."""
        return 2 * batch * steps * self.side**2 * 0.5 * 4 * self.channels * self.hidden
