"""Predictions as a CSV file, and counted as a laboratory does."""

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from typing import TextIO

from leukonca.deploy.predictor import Predictions
from leukonca.files import as_text

COLUMNS = ("path", "label", "probability", "uncertainty", "flag", "error")
"""First columns of the file; the class names follow, each with its probability."""


NOT_LEUKOCYTES = ("erythroblast", "smudge_cell", "platelet")
"""Counted beside the leukocytes, not among them."""

PREDICTED = "Differential count of the model's predictions; no person has looked at the cells."
"""Stands above every count."""


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


def differential_count(
    counts: Mapping[str, int],
    uncertain: Mapping[str, int],
    unusual: Mapping[str, int] | None = None,
    *,
    untaught: Collection[str] = (),
) -> str:
    """Two tables: leukocytes in percent of all leukocytes, and beside them what is counted per 100 leukocytes.

    So laboratories report: erythroblasts (nucleated red cells), smudge cells and platelets are no part
    of the 100 percent.

    Args:
        counts: class -> how many cells were predicted to be of it, in the order of the rows. Classes other than
            `NOT_LEUKOCYTES` are leukocytes.
        uncertain: class -> how many of these are flagged uncertain.
        unusual: class -> how many are flagged unusual; None: the model cannot tell.
        untaught: classes without training images: that none was found says nothing, and is not printed as 0.

    Returns:
        Lines of text, without a line break at the end; the first says that these are predictions. Flagged cells are
        counted as all others.
    """
    leukocytes = [name for name in counts if name not in NOT_LEUKOCYTES]
    others = [name for name in counts if name in NOT_LEUKOCYTES]
    total = sum(counts[name] for name in leukocytes)
    flags = {"uncertain": uncertain} if unusual is None else {"uncertain": uncertain, "unusual": unusual}
    width = max(map(len, (*counts, "all leukocytes")))

    def row(name: str, number: object, share: object, *flagged: object) -> str:
        return f"{name:<{width}}  {number:>7}  {share:>7}" + "".join(f"  {each:>9}" for each in flagged)

    def cells(names: Sequence[str]) -> list[str]:
        shares = {name: f"{100 * counts[name] / total:.1f}" if total else "-" for name in names}
        return [
            f"{name:<{width}}  {'not taught':>16}"
            if name in untaught and not counts[name]
            else row(name, counts[name], shares[name], *(each.get(name, 0) for each in flags.values()))
            for name in names
        ]

    lines = [PREDICTED, row("leukocytes", "n", "%", *flags), *cells(leukocytes)]
    sums = (sum(each.get(name, 0) for name in leukocytes) for each in flags.values())
    lines.append(row("all leukocytes", total, "100.0" if total else "-", *sums))
    if others:
        lines += ["", row("beside leukocytes", "n", "per 100", *flags), *cells(others)]
    return "\n".join(lines)
