"""The tables of docs/explanation.md, from results as explanation.py keeps them."""

from collections.abc import Callable
from typing import Any

from marks import table

Row = dict[str, Any]


def markdown(part: str, results: Row) -> str:
    """The table of one part."""
    return TABLES[part](results)


def told(results: Row) -> str:
    """Which model (or which machine), which cells and when, as one line."""
    if "model" not in results:
        return (
            f"{results['date'][:10]}, {results['processor']}, {results['threads']} threads, "
            f"load {results['load_before']} before."
        )
    accuracy = results["accuracy"]
    right = "" if accuracy is None else f", {accuracy:.1%} right on its test fold"
    return (
        f"{results['date'][:10]}, `{results['model']}` (weights {results['weights']}{right}), "
        f"{results['cells']} cells; 95% intervals."
    )


def faithfulness(results: Row) -> str:
    head = ("map", "deletion (lower is better)", "insertion (higher is better)")
    return table(head, [(r["map"], number(r["deletion"], 3), number(r["insertion"], 3)) for r in results["rows"]])


def sanity(results: Row) -> str:
    head = ("permuted", "pixels, sizes, rank correlation", "pixels, signed, linear", "channels, rank correlation")
    return table(
        head, [(r["permuted"], *(number(r[k]) for k in ("size", "signed", "channels"))) for r in results["rows"]]
    )


def inside(results: Row) -> str:
    keys = ("points_at_cell", "mass_in_cell", "points_at_nucleus", "mass_in_nucleus")
    head = ("cells", "map", "points at the cell", "mass in the cell", "points at the nucleus", "mass in the nucleus")
    lines = [(f"{r['cells_of']}, {r['cells']}", r["map"], *(percents(r[key]) for key in keys)) for r in results["rows"]]
    return table(head, lines)


def stability(results: Row) -> str:
    keys = ("channels", "heat_rank", "heat_similarity", "pixels_rank", "pixels_similarity")
    head = (
        "against the cell as it is",
        "channels, rank correlation",
        "heat map, rank correlation",
        "heat map, SSIM",
        "pixels, rank correlation",
        "pixels, SSIM",
        "same class",
    )
    lines = [(r["what"], *(number(r[key]) for key in keys), f"{r['same_class']['mean']:.0%}") for r in results["rows"]]
    return table(head, lines)


def audit(results: Row) -> str:
    head = ("class given", "cells", "relevance outside the cell", "background", "flagged", "most relevant channels")
    lines = [
        (
            row["class"],
            row["cells"],
            percents(row["outside"]),
            f"{row['background']:.0%}",
            row["flagged"],
            "; ".join(
                f"{one['channel']}: {one['relevance']:.0%}, {one['outside']:.0%} outside" for one in row["channels"][:3]
            ),
        )
        for row in results["rows"]
    ]
    return table(head, lines)


def explain(results: Row) -> str:
    head = ("preset", "a cell's", f"seconds, median of {results['repeats']}", "processor time, s")
    return table(
        head,
        [
            (row["preset"], row["what"], f"{row['seconds']:.2f}", f"{row['processor_seconds']:.2f}")
            for row in results["rows"]
        ],
    )


def explain_memory(results: Row) -> str:
    return table(
        ("cells explained in one run", "peak of the process, MB"),
        [(row["cells"], f"{row['peak_mb']:.0f}") for row in results["rows"]],
    )


TABLES: dict[str, Callable[[Row], str]] = {
    "faithfulness": faithfulness,
    "sanity": sanity,
    "inside": inside,
    "stability": stability,
    "audit": audit,
    "explain": explain,
    "explain_memory": explain_memory,
}


def number(value: Row, digits: int = 2) -> str:
    return f"{value['mean']:.{digits}f} ({value['low']:.{digits}f} to {value['high']:.{digits}f})"


def percents(value: Row) -> str:
    return f"{value['mean']:.0%} ({100 * value['low']:.0f} to {100 * value['high']:.0f})"
