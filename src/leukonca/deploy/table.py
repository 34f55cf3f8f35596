"""Predictions as a CSV file, and counted as a laboratory does."""

import csv
import io
from collections.abc import Mapping
from typing import TextIO

from leukonca.deploy.predictor import Predictions
from leukonca.files import as_text

COLUMNS = ("path", "label", "probability", "uncertainty", "flag", "error")
"""First columns of the file; the class names follow, each with its probability."""


class Table:
    """Writes one row per input: UTF-8, one line a row, numbers with six decimals.

    Args:
        file: opened for writing with encoding utf-8 and newline "".
        classes: names in the order of the probabilities.
    """

    def __init__(self, file: TextIO, classes: tuple[str, ...]) -> None:
        self._file = file
        self._width = len(classes)
        self._write((*COLUMNS, *classes))

    def add(self, path: str, predictions: Predictions) -> None:
        """The row of an image that was classified: the only one of these predictions."""
        (row,), (uncertainty,), (label,), (flag,) = (
            predictions.probabilities,
            predictions.uncertainty,
            predictions.labels,
            predictions.flags,
        )
        numbers = [f"{number:.6f}" for number in (row.max(), uncertainty, *row)]
        self._write((as_text(path), label, *numbers[:2], flag, "", *numbers[2:]))

    def add_error(self, path: str, reason: str) -> None:
        """The row of an input that could not be classified."""
        self._write((as_text(path), "", "", "", "", as_text(reason), *[""] * self._width))

    def _write(self, fields: tuple[str, ...]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\r\n").writerow(fields)  # so that the writer also quotes a lone \r
        self._file.write(line.getvalue().removesuffix("\r\n") + "\n")


def differential_count(counts: Mapping[str, int]) -> str:
    """A table of class, number and percentage, with a total.

    Args:
        counts: class -> how many cells, in the order of the rows.

    Returns:
        Lines of text, without a line break at the end.
    """
    total = sum(counts.values())
    width = max(map(len, (*counts, "class")))
    lines = [f"{'class':<{width}}  {'n':>7}  {'%':>5}"]
    lines += [f"{name:<{width}}  {n:>7}  {100 * n / max(total, 1):>5.1f}" for name, n in counts.items()]
    lines.append(f"{'total':<{width}}  {total:>7}")
    return "\n".join(lines)
