"""Does a model decide by the background? Relevance outside the cell, by class and channel, over many explanations."""

from collections import defaultdict
from typing import Any

import numpy as np

from leukonca.errors import UsageError
from leukonca.explain.explanation import Explanation

FLAG_ABOVE = 0.5
"""Cells with more of their relevance than this outside the cell are flagged: decided by the background."""

LISTED = 1000
"""So many flagged cells are kept by name."""


class Audit:
    """Adds up explanations with masks, one at a time, in constant memory.

    A share is counted by size, whatever the sign. Of pixels: the share of all relevance on background. Of a channel:
    the share of its relevance (over all cells) whose largest value, which the classifier saw, lies on background.
    """

    def __init__(self) -> None:
        self._cells: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0, 0.0])
        self._channels: dict[str, Any] = {}
        self._flagged: list[dict[str, Any]] = []

    def add(self, name: str, e: Explanation) -> None:
        """One cell.

        Args:
            name: of its image.
            e: with a mask; counted under the class that it explains.

        Raises:
            UsageError: it has no mask.
        """
        inside = e.inside()
        if inside is None or e.mask is None:
            raise UsageError(f"{name}: explained without a mask, so what lies outside the cell is not known")
        outside = inside["background"]
        sums = self._cells[e.target]
        for place, value in enumerate((1.0, outside, float((e.mask == 0).mean()), float(outside > FLAG_ABOVE))):
            sums[place] += value
        sizes = np.abs(e.channels).astype(np.float64)
        rows, columns = e.winning_pixels.astype(int).T
        lost = e.mask[rows, columns] == 0  # [C]
        sums_by_channel = self._channels.setdefault(e.target, np.zeros((2, len(sizes))))
        sums_by_channel += np.stack([sizes, sizes * lost])
        if outside > FLAG_ABOVE and len(self._flagged) < LISTED:
            self._flagged.append({"path": name, "class": e.target, "outside": round(outside, 4)})

    def result(self) -> dict[str, Any]:
        """Plain JSON types.

        ``classes``: per class ``cells``, ``outside`` (mean share of relevance on background), ``background`` (mean
        share of the picture that is background: what a map that knows nothing would have), ``flagged`` (how many),
        and ``channels``: the ten most relevant with their ``relevance`` (share of the class's) and ``outside``.
        ``flagged``: the cells, the first `LISTED` of them.
        """
        classes = {}
        for name, (count, outside, background, flagged) in sorted(self._cells.items()):
            classes[name] = {
                "cells": int(count),
                "outside": outside / count,
                "background": background / count,
                "flagged": int(flagged),
                "channels": self._leading(name),
            }
        return {"flag_above": FLAG_ABOVE, "classes": classes, "flagged": self._flagged}

    def _leading(self, name: str) -> list[dict[str, Any]]:
        sizes, lost = self._channels[name]
        total = float(sizes.sum()) or 1.0
        leading = [int(c) for c in np.argsort(-sizes, kind="stable")[:10] if sizes[c] > 0]
        return [
            {"channel": c, "relevance": float(sizes[c]) / total, "outside": float(lost[c] / sizes[c])} for c in leading
        ]
