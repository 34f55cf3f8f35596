"""What is true of a model's explanations? All tables of docs/explanation.md but the timings.

    python benchmarks/explanation.py MODEL
    python benchmarks/table.py --write

Every part prints a table and keeps its numbers in benchmarks/results/PART.json; `table.py` puts them into the page.
"""

import time
from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal, get_args

import tyro
from tyro.conf import Positional

from explanation_tables import markdown
from measuring import RESULTS, keep, machine, use_all_threads
from subject import Subject

Part = Literal["faithfulness", "sanity", "inside", "stability", "audit"]


def main(
    model: Positional[str],
    parts: Annotated[tuple[Part, ...], tyro.conf.arg(help_behavior_hint="(all)")] = get_args(Part),
    shared: Path = Path("../shared/data"),
    share: float = 1.0,
) -> None:
    """Measure.

    Args:
        model: A run folder or the name of a shipped model, trained on a fold of Acevedo-20.
        parts: What to measure.
        shared: The folder with the folders acevedo20, jtsc and jtsc-masks.
        share: Of the cells that every part would take; the tables say how many there were.
    """
    use_all_threads()
    subject = Subject(model, shared, share)
    facts = {**machine(), **subject.facts}
    for part in parts:
        began = time.perf_counter()
        results = {**facts, **import_module(part).measure(subject)}
        print(f"\n{part}, {time.perf_counter() - began:.0f} s\n\n{markdown(part, results)}", flush=True)
        keep(part, results)
    print(f"\nkept in {RESULTS}")


if __name__ == "__main__":
    tyro.cli(main)
