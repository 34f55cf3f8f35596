"""The pictures of a benchmark, as SVG text and PNG bytes."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from leukonca.benchmark.gather import Row, Table
from leukonca.benchmark.tables import HEADINGS
from leukonca.drawing import BLUE, INK, ORANGE, PALE, canvas, styled, svg_text
from leukonca.report.words import plain

GREEN, VIOLET = "#2f7d32", "#6a3d9a"
LOOKS = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (VIOLET, "D"), (INK, "v"))
"""Color and marker of each contender, in turn: the marker alone tells them apart, too."""

DPI = 160


def render(figure: Figure) -> tuple[str, bytes]:
    """A figure as SVG and as PNG."""
    with styled():
        data = io.BytesIO()
        figure.savefig(data, format="png", dpi=DPI, metadata={"Software": None})
        return svg_text(figure), data.getvalue()


def pairs_figure(table: Table, protocol: str) -> Figure | None:
    """Accuracy of every contender on every pair of centers, with what no skill and full knowledge would reach.

    None: nothing is done.
    """
    rows = [row for row in table.rows if row.protocol == protocol and row.done]
    if not rows:
        return None
    pairs = list(dict.fromkeys((row.source, row.target) for row in rows))
    variants = list(dict.fromkeys(row.variant for row in rows))
    with styled():
        figure = canvas(8.6, 1.5 + len(pairs) * (0.28 + 0.2 * len(variants)))
        axes = figure.subplots()
        for number, pair in enumerate(pairs):
            some = next(row for row in rows if (row.source, row.target) == pair)
            _bounds(axes, number, some, label=number == 0)
        for index, name in enumerate(variants):
            color, marker = LOOKS[index % len(LOOKS)]
            offset = 0.7 * ((index + 0.5) / len(variants) - 0.5)
            mine = [row for row in rows if row.variant == name]
            places = [pairs.index((row.source, row.target)) + offset for row in mine]
            _dots(axes, mine, places, color, marker, name)
            known = [(place, row.published.mean) for place, row in zip(places, mine, strict=True) if row.published]
            if known:
                axes.plot(
                    [mean for _, mean in known],
                    [place for place, _ in known],
                    marker,
                    color=color,
                    fillstyle="none",
                    markersize=7,
                    label=f"{plain(name)}, published",
                )
        axes.set_yticks(range(len(pairs)), [f"{_cut(source)} → {_cut(target)}" for source, target in pairs])
        axes.set(xlim=(0, 101), ylim=(len(pairs) - 0.5, -0.5), xlabel="accuracy, %")
        axes.grid(axis="y", visible=False)
        for edge in range(1, len(pairs)):
            axes.axhline(edge - 0.5, color="#e6e6e6", linewidth=0.8)
        figure.legend(loc="outside upper left", ncols=3)
        return figure


def _bounds(axes: Axes, number: int, row: Row, *, label: bool) -> None:
    for value, style, words in ((row.majority, "-", "most frequent class"), (row.ceiling, ":", "ceiling")):
        if value is not None:
            axes.vlines(
                100 * value, number - 0.42, number + 0.42, color=INK, linestyle=style, label=words if label else ""
            )


def _dots(axes: Axes, rows: Sequence[Row], places: Sequence[float], color: str, marker: str, name: str) -> None:
    scores = [row.scores["accuracy"] for row in rows]
    means = np.array([np.nan if score.mean is None else 100 * score.mean for score in scores])
    for score, place in zip(scores, places, strict=True):
        axes.plot([100 * value for value in score.folds], [place] * len(score.folds), "|", color=color, markersize=7)
        if score.low is not None and score.high is not None:
            axes.hlines(place, 100 * score.low, 100 * score.high, color=color, linewidth=1.6)
    axes.plot(means, list(places), marker, color=color, markersize=5.5, label=plain(name))


def curves_figure(table: Table, protocol: str) -> Figure | None:
    """Scores against the ablated setting, one panel a pair of centers; error bars: spread over folds.

    None: nothing is done.
    """
    rows = [row for row in table.rows if row.protocol == protocol and row.done and row.value is not None]
    if not rows:
        return None
    pairs = list(dict.fromkeys((row.source, row.target) for row in rows))
    columns = min(3, len(pairs))
    lines = -(-len(pairs) // columns)
    values = sorted({row.value for row in rows if row.value is not None})
    with styled():
        figure = canvas(max(4.4, 3.4 * columns), 0.8 + 2.9 * lines)
        panels = figure.subplots(lines, columns, squeeze=False, sharey=True)
        for panel, pair in zip(panels.flat, pairs, strict=False):
            mine = sorted(
                (row for row in rows if (row.source, row.target) == pair), key=lambda row: float(row.value or 0)
            )
            panel.axhline(100 * (mine[0].majority or 0), color=PALE, linestyle="--", label="most frequent class")
            for index, (score, (color, marker)) in enumerate(zip(HEADINGS, LOOKS, strict=False)):
                _curve(panel, mine, values, score, color, marker, 0.08 * (index - 1))
            panel.set_title(f"{_cut(pair[0])} → {_cut(pair[1])}", fontsize=9)
            panel.set_xticks(range(len(values)), [f"{value:g}" for value in values])
            panel.set(xlim=(-0.4, len(values) - 0.6), ylim=(0, 100), xlabel=plain(table.plan.ablated))
        for panel in panels.flat[len(pairs) :]:
            panel.set_visible(False)
        for panel in panels[:, 0]:
            panel.set_ylabel("%")
        handles, labels = panels.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=4 if columns > 1 else 2)
        return figure


def _curve(
    axes: Axes, rows: Sequence[Row], values: Sequence[float], score: str, color: str, marker: str, aside: float
) -> None:
    """One score; a little aside, so that no curve lies under another."""
    told = [(values.index(row.value) + aside, row.scores[score]) for row in rows if row.value is not None]
    known = [(place, each) for place, each in told if each.mean is not None]
    axes.errorbar(
        [place for place, _ in known],
        [100 * (each.mean or 0) for _, each in known],
        yerr=[100 * (each.spread or 0) for _, each in known],
        color=color,
        marker=marker,
        markersize=4.5,
        capsize=3,
        label=HEADINGS[score],
    )


def _cut(name: str) -> str:
    return name if len(name) <= 20 else name[:19] + "…"
