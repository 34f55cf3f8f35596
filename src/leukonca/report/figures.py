"""The pictures of a report, as SVG: readable in grey and by the color-blind, the same bytes for the same input."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from leukonca.drawing import BLUE, INK, ORANGE, PALE, canvas, styled, svg_uri
from leukonca.evaluation.calibration import Reliability
from leukonca.report.words import plain

_DARK = 0.55
"""Share of a row above which black figures would not be read on its blue."""


def confusion_picture(
    confusion: NDArray[np.int64],
    rows: Sequence[int],
    columns: Sequence[int],
    names: Sequence[str],
    untrained: Collection[int] = (),
) -> str:
    """Counts, on a color that says which share of the true class (the row) they are.

    Args:
        confusion: [K, K], row: truth, column: prediction.
        rows: true classes to show, each with at least one image.
        columns: predicted classes to show.
        names: K class names.
        untrained: classes that the model never saw; their rows say so.

    Returns:
        SVG data URI.
    """
    shown = confusion[np.ix_(rows, columns)]
    share = shown / confusion[rows].sum(axis=1, keepdims=True)
    with styled(grid=False):
        figure = canvas(2.6 + 0.5 * len(columns), 2.6 + 0.42 * len(rows))
        axes = figure.subplots()
        mesh = axes.pcolormesh(share, cmap="Blues", vmin=0, vmax=1, edgecolors="#dddddd", linewidth=0.6, gid="shares")
        axes.set(xlabel="predicted", ylabel="true (cells)", ylim=(len(rows), 0))
        true_names = [
            f"{plain(names[k])} ({confusion[k].sum():,}){', never trained on' if k in untrained else ''}" for k in rows
        ]
        axes.set_yticks(np.arange(len(rows)) + 0.5, true_names)
        predicted_names = [plain(names[k]) for k in columns]
        axes.set_xticks(np.arange(len(columns)) + 0.5, predicted_names, rotation=40, ha="left", rotation_mode="anchor")
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        for i, j in np.argwhere(shown > 0):
            ink = "white" if share[i, j] > _DARK else INK
            count = axes.text(j + 0.5, i + 0.5, str(shown[i, j]), ha="center", va="center", size=8, color=ink)
            count.set_in_layout(False)  # it lies inside; measuring a hundred of them takes a second
        for i, k in enumerate(rows):
            if k in columns:  # a frame marks right answers: color alone must not tell
                corner = (list(columns).index(k), i)
                axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=INK, linewidth=1.1))
        bar = figure.colorbar(
            mesh, ax=axes, location="bottom", shrink=0.5, aspect=30, format=lambda v, _: f"{100 * v:.0f}%"
        )
        bar.set_label("share of the true class")
        bar.outline.set_visible(False)
        return svg_uri(figure)


def reliability_picture(bins: Reliability) -> str:
    """Share of right answers against the probability given, and how many images each bin holds: SVG data URI."""
    filled = bins.count > 0
    width = bins.edges[1] - bins.edges[0]
    with styled():
        figure = canvas(4.4, 4.6)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        above.plot([0, 1], [0, 1], color=PALE, linestyle="--", label="perfectly calibrated")
        above.plot(
            bins.confidence[filled], bins.accuracy[filled], "o-", color=BLUE, markersize=4.5, label="model", gid="model"
        )
        above.set(ylabel="share right", ylim=(-0.02, 1.02), xlim=(0, 1))
        above.legend(loc="upper left")
        below.bar(bins.edges[:-1], bins.count, width=width, align="edge", color=PALE, edgecolor="white")
        below.set(ylabel="cells", xlabel="probability of the predicted class")
        return svg_uri(figure)


def risk_coverage_picture(
    coverage: NDArray[np.float64], risk: NDArray[np.float64], unflagged: tuple[float, float] | None
) -> str:
    """Errors among the cells that the model is surest of, against how many these are.

    Args:
        coverage: share of the cells, [N], rising.
        risk: share of errors among them, [N].
        unflagged: share of the cells without the flag `uncertain`, and of errors among them; None: there are none.

    Returns:
        SVG data URI.
    """
    with styled():
        figure = canvas(4.4, 3.4)
        axes = figure.subplots()
        kept = np.unique(np.linspace(0, len(risk) - 1, min(len(risk), 400)).astype(np.int64))  # more nobody sees
        axes.axhline(100 * risk[-1], color=PALE, linestyle="--", label="without order")
        axes.plot(100 * coverage[kept], 100 * risk[kept], color=BLUE, label="surest first", gid="risk")
        if unflagged is not None:
            axes.plot(
                [100 * unflagged[0]], [100 * unflagged[1]], "s", color=ORANGE, label="not in doubt", gid="unflagged"
            )
        top = 100 * max(float(risk.max()), 0.01)
        axes.set(
            xlabel="% of the cells, the surest first", ylabel="% of them wrong", xlim=(0, 100), ylim=(0, 1.08 * top)
        )
        axes.legend(loc="best")
        return svg_uri(figure)


def learning_picture(history: Sequence[Mapping[str, Any]]) -> str:
    """Loss and accuracy by epoch, in training and on validation images: SVG data URI."""
    with styled():
        figure = canvas(8.6, 3.2)
        loss, accuracy = figure.subplots(1, 2)
        for axes, key, heading in ((loss, "loss", "loss"), (accuracy, "accuracy", "accuracy")):
            _curve(axes, history, key, "training", BLUE, "o-")
            _curve(axes, history, f"validation_{key}", "validation", ORANGE, "s--")
            axes.set(xlabel="epoch", ylabel=heading)
            axes.xaxis.get_major_locator().set_params(integer=True)
            if axes.lines:
                axes.legend()
        accuracy.set_ylim(0, 1.02)
        loss.set_ylim(bottom=0)
        return svg_uri(figure)


def _curve(axes: Axes, history: Sequence[Mapping[str, Any]], key: str, label: str, color: str, line: str) -> None:
    epochs = [float(entry.get("epoch", i)) for i, entry in enumerate(history)]
    values = np.array([np.nan if entry.get(key) is None else float(entry[key]) for entry in history])
    if np.isfinite(values).any():
        axes.plot(epochs, values, line, color=color, label=label, gid=key, markersize=4 if len(values) < 40 else 0)


def scores_picture(names: Sequence[str], metrics: Sequence[Mapping[str, Any]]) -> str:
    """Accuracy and balanced accuracy of each center with intervals, beside what no skill reaches: SVG data URI."""
    rows = np.arange(len(names))
    with styled():
        figure = canvas(8.6, 1.3 + 0.55 * len(names))
        axes = figure.subplots()
        majority = [100 * entry["majority_accuracy"] for entry in metrics]
        axes.plot(majority, rows, "|", color=INK, markersize=18, markeredgewidth=2, label="most frequent class")
        for key, offset, marker, color in (
            ("accuracy", -0.12, "o", BLUE),
            ("balanced_accuracy", 0.12, "s", ORANGE),
        ):
            values = np.array([entry[key]["value"] for entry in metrics])
            low, high = (
                np.array([entry[key][end] if entry[key][end] is not None else entry[key]["value"] for entry in metrics])
                for end in ("low", "high")
            )
            axes.hlines(rows + offset, 100 * low, 100 * high, color=color, linewidth=2)
            axes.plot(100 * values, rows + offset, marker, color=color, markersize=6, label=plain(key))
        axes.set_yticks(rows, [_short(name) for name in names])
        axes.set(xlim=(0, 100), ylim=(len(names) - 0.5, -0.5), xlabel="%")
        axes.grid(axis="y", visible=False)
        figure.legend(loc="outside upper left", ncols=3)
        return svg_uri(figure)


def _short(name: str) -> str:
    return name if len(name) <= 28 else name[:27] + "…"
