"""How a page shows what worse images cost: one small chart a kind of corruption, and the same numbers as rows."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from leukonca.drawing import BLUE, INK, ORANGE, canvas, styled
from leukonca.report.words import percent

_COLUMNS = 4

_LINES = (
    ("accuracy", "accuracy (band: 95% interval)", "o-", BLUE),
    ("balanced_accuracy", "balanced accuracy", "^:", INK),
    ("ece", "calibration error", "s--", ORANGE),
)


def robustness_figure(facts: Mapping[str, Any]) -> Figure:
    """Accuracy, balanced accuracy and calibration error against strength, one panel a kind.

    Marks and dashes tell the lines apart where colors do not.

    Args:
        facts: of `leukonca.evaluation.robustness.Robustness.facts`.
    """
    kinds: Mapping[str, Any] = facts["kinds"]
    columns = min(_COLUMNS, len(kinds))
    rows = -(-len(kinds) // columns)
    with styled():
        figure = canvas(max(4.4, 0.6 + 2.1 * columns), 0.9 + 1.75 * rows)
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for panel, (name, curve) in zip(panels.flat, kinds.items(), strict=False):
            strengths = [0, *curve["strengths"]]
            low, high = (
                100 * np.array([entry[end] for entry in (facts["clean"]["accuracy"], *curve["accuracy"])], dtype=float)
                for end in ("low", "high")
            )
            panel.fill_between(strengths, low, high, color=BLUE, alpha=0.18, linewidth=0)
            for key, label, line, color in _LINES:
                values = [entry["value"] for entry in (facts["clean"][key], *curve[key])]
                shown = 100 * np.array(values, dtype=float)
                panel.plot(
                    strengths, shown, line, color=color, markersize=3.5, linewidth=1.3, label=label, gid=f"{name}-{key}"
                )
            panel.set_title(f"{name}: {curve['what']}", fontsize=8)
            panel.set(ylim=(0, 100), xlim=(-0.2, max(5, *strengths) + 0.2))
            panel.set_xticks(range(6))
        for panel in panels.flat[len(kinds) :]:
            panel.set_visible(False)
        for panel in panels[:, 0]:
            panel.set_ylabel("%")
        for column in range(columns):
            lowest = max(row for row in range(rows) if row * columns + column < len(kinds))
            panels[lowest, column].set_xlabel("strength")
            panels[lowest, column].tick_params(labelbottom=True)
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=3 if columns > 2 else 1)
        return figure


def robustness_rows(facts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One row a kind: what it is, and at each strength its value, accuracy and calibration error, as text."""
    for name, curve in facts["kinds"].items():
        cells = zip(curve["values"], curve["accuracy"], curve["ece"], strict=True)
        yield {
            "name": name,
            "what": f"{curve['what']}; {curve['unit']}",
            "cells": [
                {"value": f"{value:g}", "accuracy": percent(accuracy["value"]), "ece": percent(ece["value"])}
                for value, accuracy, ece in cells
            ],
            "loss": percent(curve["relative_loss"]),
        }
