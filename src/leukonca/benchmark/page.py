"""What a benchmark leaves for its reader: tables, pictures and one HTML page, made from the records alone."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from leukonca import __version__
from leukonca.benchmark import pictures, tables
from leukonca.benchmark.gather import Table
from leukonca.data.synthetic import SYNTHETIC_NOTE
from leukonca.drawing import data_uri
from leukonca.evaluation.protocol import PROTOCOLS
from leukonca.files import as_text, whole_file, write_text
from leukonca.report import words
from leukonca.report.content import RESEARCH_NOTE

_PICTURES: Mapping[str, tuple[str, str, Callable[[Table, str], Figure | None]]] = MappingProxyType(
    {
        "accuracy": (
            "accuracy",
            "Accuracy of each model (filled): the line is the 95% interval of the mean, the ticks are the folds. "
            "Hollow: as published, with the published protocol. Upright lines: what always answering the most frequent "
            "class would reach, and, dotted, what the classes that were trained on allow.",
            pictures.pairs_figure,
        ),
        "curves": ("curves", "Mean over folds; error bars: standard deviation over folds.", pictures.curves_figure),
    }
)
"""Kind -> file name, caption, how it is drawn."""


def write_report(out: Path, table: Table) -> None:
    """Write ``table.md``, ``table.tex``, ``table.csv``, ``folds.csv``, pictures and ``report.html`` into a folder.

    Raises:
        UsageError: the folder cannot be written to.
        DataError: the disk is full.
    """
    write_text(out / "table.md", tables.markdown(table))
    write_text(out / "table.tex", tables.latex(table))
    write_text(out / "table.csv", tables.comma_separated(table))
    write_text(out / "folds.csv", tables.fold_by_fold(table))
    sections = [_section(out, table, name) for name in tables.protocols(table)]
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("leukonca.benchmark"), PackageLoader("leukonca.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("benchmark.html").render(
        plan=table.plan,
        command=table.command,
        synthetic=any(row.synthetic for row in table.rows),
        synthetic_note=SYNTHETIC_NOTE,
        research_note=RESEARCH_NOTE,
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=__version__,
        versions=table.versions,
        sections=sections,
        others=tables.others(table),
        faults=list(tables.faults(table)),
        legend=tables.LEGEND,
        notes=table.notes,
        settings=[(each.name, list(words.settings(each.settings))) for each in table.plan.variants],
    )
    write_text(out / "report.html", as_text(page))


def _section(out: Path, table: Table, protocol: str) -> dict[str, Any]:
    drawn: list[dict[str, str]] = []
    name, caption, make = _PICTURES["curves" if table.plan.ablated else "accuracy"]
    figure = make(table, protocol)
    if figure is not None:
        svg, png = pictures.render(figure)
        write_text(out / f"{name}-{protocol}.svg", svg + "\n")
        with whole_file(out / f"{name}-{protocol}.png") as temporary:
            temporary.write_bytes(png)
        drawn.append({"picture": data_uri(svg), "caption": caption})
    return {
        "name": protocol,
        "words": PROTOCOLS[protocol].words,
        "overview": tables.overview(table, protocol),
        "details": tables.details(table, protocol),
        "pictures": drawn,
    }
