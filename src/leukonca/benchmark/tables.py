"""The table as Markdown, LaTeX and CSV."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

from leukonca.benchmark.gather import SCORES, Row, Score, Table, is_waiting
from leukonca.benchmark.published import OTHERS
from leukonca.data.synthetic import SYNTHETIC_NOTE
from leukonca.evaluation.protocol import PROTOCOLS
from leukonca.report.words import NOTHING, plain

HEADINGS: Mapping[str, str] = MappingProxyType(
    {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro-F1"}
)

LEGEND = (
    "mean ± standard deviation over folds (n − 1), in per cent; in brackets the 95% interval of the mean "
    "(percentile bootstrap over images). The spread says what another training would change, the interval what other "
    "images of the same center would; neither says what another center would.",
    "majority: accuracy of always naming the most frequent class of the tested images. ceiling: share of the tested "
    "images whose class was trained on; accuracy cannot exceed it. published: accuracy by Deutges et al. 2024, "
    "with the protocol paper.",
)


def short(score: Score | None) -> str:
    """``43.9 ± 1.6``, per cent."""
    if score is None or score.mean is None:
        return NOTHING
    spread = "" if score.spread is None else f" ± {100 * score.spread:.1f}"
    return f"{100 * score.mean:.1f}{spread}"


def long(score: Score | None) -> str:
    """``43.9 ± 1.6 [42.1, 45.8]``, per cent."""
    if score is None or score.low is None or score.high is None:
        return short(score)
    return f"{short(score)} [{100 * score.low:.1f}, {100 * score.high:.1f}]"


def percent(value: float | None) -> str:
    """``43.9``."""
    return NOTHING if value is None else f"{100 * value:.1f}"


def answer(row: Row, words: Callable[[Score | None], str]) -> str:
    """The accuracy of a row, and what is wrong with it: ``43.9 ± 1.6 (4 of 5 folds)``, ``failed``."""
    if not row.done:
        return NOTHING if all(map(is_waiting, row.errors.values())) else "failed"
    part = f" ({len(row.done)} of {row.planned} folds)" if len(row.done) < row.planned else ""
    return words(row.scores.get("accuracy")) + part


def protocols(table: Table) -> list[str]:
    """Those that rows were made with, in the order of `PROTOCOLS`."""
    used = {row.protocol for row in table.rows}
    return [name for name in PROTOCOLS if name in used]


def overview(table: Table, protocol: str) -> tuple[list[str], list[list[str]]]:
    """The paper's layout: a line for each pair of centers, a column for each model, beside it what was published.

    Of an ablation: a line for each pair of centers and value.

    Returns:
        Headings and lines.
    """
    rows = [row for row in table.rows if row.protocol == protocol]
    if table.plan.ablated:
        return _values(rows, plain(table.plan.ablated))
    variants = list(dict.fromkeys(row.variant for row in rows))
    published = {name for name in variants if any(row.published for row in rows if row.variant == name)}
    headings = ["trained on", "tested on"]
    for name in variants:
        headings += [name, f"{name}, published"] if name in published else [name]
    lines = []
    for pair in dict.fromkeys((row.source, row.target) for row in rows):
        cells = {row.variant: row for row in rows if (row.source, row.target) == pair}
        line = list(pair)
        for name in variants:
            row = cells.get(name)
            line.append(NOTHING if row is None else answer(row, short))
            if name in published:
                line.append(NOTHING if row is None or row.published is None else str(row.published))
        some = next((row for row in cells.values() if row.done), None)
        line += [percent(some.majority if some else None), percent(some.ceiling if some else None)]
        lines.append(line)
    return [*headings, "majority", "ceiling"], lines


def _values(rows: Sequence[Row], setting: str) -> tuple[list[str], list[list[str]]]:
    lines = []
    for pair in dict.fromkeys((row.source, row.target) for row in rows):
        mine = [row for row in rows if (row.source, row.target) == pair]
        for row in sorted(mine, key=lambda row: row.value or 0):
            value = row.variant if row.value is None else f"{row.value:g}"
            rest = [short(row.scores.get(name)) for name in SCORES[1:]]
            lines.append([*pair, value, answer(row, short), *rest, percent(row.majority), percent(row.ceiling)])
    return ["trained on", "tested on", setting, *HEADINGS.values(), "majority", "ceiling"], lines


def details(table: Table, protocol: str) -> tuple[list[str], list[list[str]]]:
    """Every score with its interval, a line for each model and pair of centers: headings and lines."""
    headings = ["model", "trained on", "tested on", "folds", "images", *HEADINGS.values(), "majority", "ceiling"]
    lines = [
        [
            row.variant,
            row.source,
            row.target,
            f"{len(row.done)} of {row.planned}",
            f"{row.images:,}" if row.done else NOTHING,
            *(long(row.scores.get(name)) for name in SCORES),
            percent(row.majority),
            percent(row.ceiling),
        ]
        for row in table.rows
        if row.protocol == protocol
    ]
    return headings, lines


def others(table: Table) -> tuple[list[str], list[list[str]]] | None:
    """What works after the paper reached on the same pairs of centers; None: none of them is here."""
    kinds = {place.name: place.kind for place in table.plan.places}
    pairs = dict.fromkeys((row.source, row.target) for row in table.rows)
    lines = [
        [source, target, system, str(cells[kinds[source], kinds[target]])]
        for source, target in pairs
        for system, cells in OTHERS.items()
        if source in kinds and target in kinds and (kinds[source], kinds[target]) in cells
    ]
    return (["trained on", "tested on", "system", "accuracy"], lines) if lines and not table.plan.ablated else None


def faults(table: Table) -> Iterator[str]:
    """Every job that is not done, with its reason, alike ones together."""
    together: dict[tuple[str, str], list[str]] = {}
    for row in table.rows:
        for fold, why in row.errors.items():
            where = f"{row.variant}, {row.source} to {row.target}, {row.protocol}"
            together.setdefault((where, why), []).append(str(fold))
    for (where, why), folds in together.items():
        yield f"{where}, fold {', '.join(folds)}: {why}"


def plain_text(table: Table) -> str:
    """Accuracy as columns for a terminal, without what was published."""
    parts = []
    if any(row.synthetic for row in table.rows):
        parts.append(f"{SYNTHETIC_NOTE}.")
    for name in protocols(table):
        headings, lines = overview(table, name)
        shown = [column for column, heading in enumerate(headings) if not heading.endswith(", published")]
        cells = [[row[column] for column in shown] for row in (headings, *lines)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        parts.append(f"{'scores' if table.plan.ablated else 'accuracy'}, per cent, protocol {name}")
        parts += [
            "  ".join(
                f"{cell:<{width}}" if i < 2 else f"{cell:>{width}}"
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in cells
        ]
    return "\n".join(parts)


def markdown(table: Table) -> str:
    """The whole report as Markdown."""
    parts = [f"# {table.plan.title}", f"    {table.command}"]
    if any(row.synthetic for row in table.rows):
        parts.append(f"**{SYNTHETIC_NOTE}.**")
    for name in protocols(table):
        parts += [
            f"## Protocol `{name}`",
            PROTOCOLS[name].words,
            "Scores, per cent:" if table.plan.ablated else "Accuracy, per cent:",
        ]
        parts += [_markdown(*overview(table, name)), _markdown(*details(table, name))]
    beside = others(table)
    if beside:
        parts += ["## Published elsewhere", "Accuracy, per cent; protocols of their own.", _markdown(*beside)]
    wrong = list(faults(table))
    if wrong:
        parts += ["## Not done", "\n".join(f"- {_in_cell(line)}" for line in wrong)]
    parts += ["## Reading the numbers", *LEGEND]
    return "\n\n".join(parts) + "\n"


def _markdown(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [headings, ["---"] * len(headings), *lines]
    return "\n".join("| " + " | ".join(map(_in_cell, row)) + " |" for row in rows)


def _in_cell(text: str) -> str:
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").split())


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "−": r"$-$",
    NOTHING: "--",
}


def escape(text: str) -> str:
    """Text as LaTeX shows it literally."""
    return "".join(_LATEX.get(letter, letter) for letter in text if letter.isprintable())


def latex(table: Table) -> str:
    """The tables as LaTeX, with the rules of the package booktabs."""
    parts = ["% needs \\usepackage{booktabs}"]
    for name in protocols(table):
        for kind, (headings, lines) in (("overview", overview(table, name)), ("details", details(table, name))):
            caption = f"{table.plan.title}, protocol {name}. " + " ".join(LEGEND)
            parts.append(_latex(headings, lines, caption, f"tab:{name}-{kind}"))
    return "\n\n".join(parts) + "\n"


def _latex(headings: Sequence[str], lines: Sequence[Sequence[str]], caption: str, label: str) -> str:
    left = sum(heading in ("model", "trained on", "tested on") for heading in headings)
    body = [" & ".join(map(escape, line)) + r" \\" for line in (headings, *lines)]
    body.insert(1, r"\midrule")
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{escape(caption)}}}",
            rf"\label{{{label}}}",
            rf"\begin{{tabular}}{{{'l' * left}{'r' * (len(headings) - left)}}}",
            r"\toprule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def comma_separated(table: Table) -> str:
    """One line a row, plain numbers from 0 to 1; what is not there is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [f"{name}{part}" for name in SCORES for part in ("", "_std", "_low", "_high")]
    where = ["model", "value", "source", "target", "protocol"]
    ends = ["majority", "ceiling", "published_accuracy", "published_std", "errors"]
    writer.writerow([*where, "folds", "images", *columns, *ends])
    for row in table.rows:
        numbers: list[float | None] = []
        for name in SCORES:
            score = row.scores.get(name)
            numbers += [score.mean, score.spread, score.low, score.high] if score else [None] * 4
        paper = row.published
        numbers += [row.majority, row.ceiling]
        numbers += [None if paper is None else paper.mean / 100]
        numbers += [None if paper is None or paper.spread is None else paper.spread / 100]
        errors = "; ".join(f"fold {fold}: {why}" for fold, why in row.errors.items())
        value = "" if row.value is None else f"{row.value:g}"
        place = [row.variant, value, row.source, row.target, row.protocol, len(row.done), row.images]
        writer.writerow([*place, *("" if n is None else f"{n:.6f}" for n in numbers), errors])
    return text.getvalue()


def fold_by_fold(table: Table) -> str:
    """The scores of every fold, as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["model", "value", "source", "target", "protocol", "fold", *SCORES, "error"])
    for row in table.rows:
        place = [row.variant, "" if row.value is None else f"{row.value:g}", row.source, row.target, row.protocol]
        for column, fold in enumerate(row.done):
            values = [row.scores[name].folds for name in SCORES]
            told = [f"{each[column]:.6f}" if len(each) == len(row.done) else "" for each in values]
            writer.writerow([*place, fold, *told, ""])
        for fold, why in row.errors.items():
            writer.writerow([*place, fold, *[""] * len(SCORES), why])
    return text.getvalue()
