"""The results as Markdown tables: printed, or put into docs/performance.md and docs/explanation.md.

python benchmarks/table.py [--write]
"""

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import explanation_tables
from marks import fill, table

HERE = Path(__file__).parent

Row = dict[str, Any]
JOBS = {"predict": "prediction", "train": "training step"}


def markdown(part: str, results: Row) -> str:
    """The table of one part."""
    return TABLES[part](results["rows"])


def against_eager(rows: Sequence[Row]) -> str:
    return table(
        ("", "batch", "images/s", "eager", "times faster", "GFLOP/s", "matrix product: numpy, torch", "share"),
        [
            (
                JOBS[row["job"]],
                row["batch"],
                figures(row["images_per_second"]),
                figures(row["rival_images_per_second"]),
                f"{row['times_faster']:.1f}",
                f"{row['gflops']:.0f}",
                f"{row['product_gflops']['numpy']:.0f}, {row['product_gflops']['torch']:.0f}",
                f"{row['share']:.0%} of {row['share_of']}'s",
            )
            for row in rows
        ],
    )


def step(rows: Sequence[Row]) -> str:
    names = {
        "predict": "prediction",
        "taped": "forward, keeping its tape",
        "backward": "backward",
        "train": "the whole step, in torch",
    }
    return table(
        (f"batch {rows[0]['batch']}", "ms", "of the step", "GFLOP/s", f"of numpy's {rows[0]['product_gflops']:.0f}"),
        [
            (
                names[row["what"]],
                figures(row["milliseconds"]),
                f"{row['of_step']:.0%}",
                f"{row['gflops']:.0f}",
                f"{row['share']:.0%}",
            )
            for row in rows
        ],
    )


def memory(rows: Sequence[Row]) -> str:
    rivals = {(row["job"], row["batch"]): row for row in rows if row["who"] == "rival"}
    lines = []
    for row in rows:
        rival = rivals.get((row["job"], row["batch"]))
        more = row["peak_mb"] - row["before_mb"]
        shares = ("", "")
        if row["who"] == "ours" and rival is not None:
            shares = (
                f"1/{rival['peak_mb'] / row['peak_mb']:.1f}",
                f"1/{(rival['peak_mb'] - rival['before_mb']) / more:.1f}",
            )
        who = {"ours": "ours", "rival": "eager"}[row["who"]]
        lines.append((JOBS[row["job"]], row["batch"], who, f"{row['peak_mb']:,.0f}", f"{more:,.0f}", *shares))
    head = ("", "batch", "", "peak of the process, MB", "more than before, MB", "of eager's peak", "of eager's more")
    return table(head, lines)


def growth(rows: Sequence[Row]) -> str:
    return table(
        ("", "", "values", "seconds", "off a straight line", "exponent", "memory, MB", "off a straight line"),
        [
            (
                JOBS[row["job"]],
                row["what"],
                ", ".join(str(value) for value in row["values"]),
                ", ".join(figures(value) for value in row["seconds"]),
                f"{row['seconds_off_line']:.0%}",
                f"{row['exponent']:.2f}",
                ", ".join(f"{value:,.0f}" for value in row["memory_mb"]),
                f"{row['memory_off_line']:.0%}",
            )
            for row in rows
        ],
    )


def coldstart(rows: Sequence[Row]) -> str:
    ways = {"predictor": "`Predictor`, one image", "train": "`NCAClassifier`, one image forward and backward"}
    return table(
        ("", "", "import and load, s", "first call, s", "second call, s", "whole process, s"),
        [
            (
                ways[row["way"]],
                row["state"],
                *(f"{row[name]:.2f}" for name in ("import_and_load", "first_call", "second_call", "whole")),
            )
            for row in rows
        ],
    )


def alternatives(rows: Sequence[Row]) -> str:
    names = {
        "ours": "ours",
        "onnx": "ONNX Runtime, unrolled",
        "compiled": "eager through torch.compile, a step at a time",
    }
    lines = [
        (
            JOBS[row["job"]],
            row["batch"],
            names[row["who"]],
            figures(row["images_per_second"]),
            f"{row['ours_times_faster']:.1f}",
            f"{row['first_call_seconds']:.1f}",
        )
        for row in rows
        if "note" not in row
    ]
    notes = "".join(f"\n\n{names[row['who']]}: {row['note']}" for row in rows if "note" in row)
    return table(("", "batch", "", "images/s", "ours is faster by", "first call, s"), lines) + notes


TABLES: dict[str, Callable[[Sequence[Row]], str]] = {
    "against_eager": against_eager,
    "step": step,
    "memory": memory,
    "alternatives": alternatives,
    "growth": growth,
    "coldstart": coldstart,
}


def figures(value: float) -> str:
    """Three of them."""
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def told(results: Row) -> str:
    """Where and when, as one line."""
    versions = results["versions"]
    return (
        f"{results['date'][:10]}, {results['processor']}, {results['threads']} threads, load {results['load_before']} "
        f"before; Python {results['python']}, torch {versions['torch']}, numba {versions['numba']}, "
        f"medians of up to {results['repeats']}."
    )


PAGES: dict[str, tuple[Iterable[str], Callable[[str, Row], str], Callable[[Row], str]]] = {
    "performance.md": (TABLES, markdown, told),
    "explanation.md": (explanation_tables.TABLES, explanation_tables.markdown, explanation_tables.told),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"put them into docs: {', '.join(PAGES)}")
    write = parser.parse_args().write
    for page, (parts, as_table, as_line) in PAGES.items():
        for part in parts:
            path = HERE / "results" / f"{part}.json"
            if not path.is_file():
                continue
            results = json.loads(path.read_text(encoding="utf-8"))
            text = f"{as_line(results)}\n\n{as_table(part, results)}"
            print(f"{part}\n\n{text}\n")
            if write:
                fill(page, part, text)


if __name__ == "__main__":
    main()
