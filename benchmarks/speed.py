"""Speed, memory, growth and cold start on this machine's processor; `make bench`.

Every part prints a table and keeps its numbers in benchmarks/results/PART.json; `table.py` puts them into
docs/performance.md. Threads: OMP_NUM_THREADS, or all processors. Nothing else should run meanwhile.
"""

import time
from importlib import import_module
from typing import Annotated, Literal, get_args

import tyro

from measuring import RESULTS, Effort, keep, machine, use_all_threads
from table import markdown

Part = Literal["against_eager", "step", "memory", "alternatives", "growth", "coldstart"]


def main(
    parts: Annotated[tuple[Part, ...], tyro.conf.arg(help_behavior_hint="(all)")] = get_args(Part),
    quick: bool = False,
    repeats: int = 5,
) -> None:
    """Measure.

    Args:
        parts: What to measure.
        quick: Tiny models, once: shows that all parts work. Keeps nothing.
        repeats: Of every measurement; the median counts.
    """
    effort = Effort(quick=quick, repeats=repeats)
    use_all_threads()
    facts = machine()
    print(f"{facts['processor']}, {facts['threads']} threads, load {facts['load_before']} before the start", flush=True)
    for part in parts:
        began = time.perf_counter()
        rows = import_module(part).measure(effort)
        results = {**facts, "repeats": effort.repeats, "rows": rows}
        print(f"\n{part}, {time.perf_counter() - began:.0f} s\n\n{markdown(part, results)}", flush=True)
        if not quick:
            keep(part, results)
    print("\nquick: these numbers mean nothing" if quick else f"\nkept in {RESULTS}")


if __name__ == "__main__":
    tyro.cli(main)
