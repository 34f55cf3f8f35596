"""What it saves that the image's channels are perceived once and not in every step: preset `compact`, CPU engine.

python benchmarks/held.py [--threads 2] [--write]

Both ways in turns, in one run: with the channels that fill whole vectors held back, as the engine does it, and without.
Processor time, which other work on the machine changes less than wall time.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from unittest.mock import patch

import torch
from torch import Tensor

from leukonca import NCAClassifier
from leukonca.automaton import cpu
from leukonca.files import write_json
from marks import fill, table
from measuring import machine

RESULTS = Path(__file__).parent / "results" / "held.json"
TURNS = 15


def processor_ms(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return 1000 * (time.process_time() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="keep the results and fill docs/performance.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = NCAClassifier(preset="compact", engine="cpu")
    torch.nn.init.normal_(model.update_weight, std=0.01)
    images = torch.randn(16, 3, 64, 64)

    def predict(batch: Tensor) -> None:
        with torch.no_grad():
            model(batch)

    works: dict[str, Callable[[], object]] = {
        "prediction, 1 image": lambda: predict(images[:1]),
        "prediction, 16 images": lambda: predict(images),
        "forward and backward, 16 images": lambda: model(images).square().sum().backward(),
    }
    times: dict[str, list[list[float]]] = {name: [] for name in works}
    for turn in range(TURNS + 1):
        for name, work in works.items():
            held = processor_ms(work)
            with patch.object(cpu, "_held", lambda rule, frozen: 0):
                whole = processor_ms(work)
            if turn:  # the first compiles
                times[name].append([whole, held])
    rows = []
    for name, pairs in times.items():
        whole, held = (median(pair[side] for pair in pairs) for side in (0, 1))
        ratio = median(a / b for a, b in pairs)
        rows.append({"work": name, "whole_ms": whole, "held_ms": held, "ratio": ratio})
    facts = machine()
    text = table(
        ("preset `compact`, ms of processor time", "in every step", "once", "times"),
        [(r["work"], f"{r['whole_ms']:.1f}", f"{r['held_ms']:.1f}", f"{r['ratio']:.2f}") for r in rows],
    )
    print(text)
    if options.write:
        write_json(RESULTS, {"rows": rows, "threads": options.threads, **facts})
        fill("performance.md", "held", text)


if __name__ == "__main__":
    main()
