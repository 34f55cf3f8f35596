"""What a report is made from: plain fields, filled by whoever ran the evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukonca import __version__
from leukonca.data.synthetic import SYNTHETIC_NOTE as SYNTHETIC_NOTE
from leukonca.errors import DataError

RESEARCH_NOTE = "For research only. Not a medical device: not for diagnosis or treatment."
"""Stands on every report."""


def _nothing() -> Mapping[str, Any]:
    return MappingProxyType({})


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


@dataclass(frozen=True)
class CenterResult:
    """A model's predictions on the test images of one center, and how good they are.

    Args:
        name: the center's name, as the user knows it.
        metrics: what `leukonca.evaluation.metrics.metrics_with_intervals` returned for these predictions.
        probabilities: [N, K], columns in the order of ``metrics["class_names"]``.
        labels: true classes, integers [N].
        paths: the images' names, N of them, as shown to the reader.
        thumbnails: what the model saw (or the images themselves), uint8 [N, side, side, 3], an array or a
            memory map; None: the report shows no cells.
        note: a sentence about these images, for example which fold they are.

    Raises:
        DataError: the fields do not fit together.
    """

    name: str
    metrics: Mapping[str, Any]
    probabilities: NDArray[np.floating[Any]]
    labels: NDArray[np.integer[Any]]
    paths: Sequence[str]
    thumbnails: NDArray[np.uint8] | None = None
    note: str = ""

    def __post_init__(self) -> None:
        images, classes = self.metrics["images"], len(self.metrics["class_names"])
        shapes = (self.probabilities.shape, self.labels.shape, (len(self.paths),))
        if shapes != ((images, classes), (images,), (images,)):
            raise DataError(
                f"{self.name}: metrics are of {images} images and {classes} classes, but probabilities are"
                f" {list(shapes[0])}, labels {list(shapes[1])}, paths {list(shapes[2])}"
            )
        cells = self.thumbnails
        if cells is not None and (
            cells.dtype != np.uint8 or cells.ndim != 4 or cells.shape[0] != images or cells.shape[3] != 3
        ):
            raise DataError(
                f"{self.name}: thumbnails are {cells.dtype} {list(cells.shape)};"
                f" expected uint8 [{images}, side, side, 3]"
            )


@dataclass(frozen=True)
class ExplainedCell:
    """Why the model names one cell as it does.

    Args:
        title: which cell, and what it was called.
        maps: where it looks: an image as a data URI.
        top: the most relevant channels: likewise.
        note: a sentence beneath.
    """

    title: str
    maps: str
    top: str
    note: str = ""


@dataclass(frozen=True)
class RunReport:
    """A model's evaluation on one or more centers, ready to be written as one page.

    Args:
        title: heading of the page.
        command: the exact command line that made these results.
        results: one entry a center, at least one, in the order shown.
        model: facts about the model, shown in this order: preset, parameters, grid ...
        data: facts about its training data: center, fold, images, fingerprint ...
        history: one entry an epoch, as in ``log.jsonl``: ``epoch, loss, accuracy, validation_loss,
            validation_accuracy``; missing or null values leave gaps; empty: no learning curve.
        recipe: the training settings; may be nested.
        explained: cells that are explained, in the order shown.
        repeat: commands that lead to this report again, in order; empty: ``command`` alone.
        synthetic: the cells are made by a generator; the report says so on top and at each center.
        date: when the results were made.
        version: of leukonca.

    Raises:
        DataError: there are no results.
    """

    title: str
    command: str
    results: tuple[CenterResult, ...]
    model: Mapping[str, Any] = field(default_factory=_nothing)
    data: Mapping[str, Any] = field(default_factory=_nothing)
    history: Sequence[Mapping[str, Any]] = ()
    recipe: Mapping[str, Any] = field(default_factory=_nothing)
    explained: tuple[ExplainedCell, ...] = ()
    repeat: tuple[str, ...] = ()
    synthetic: bool = False
    date: str = field(default_factory=_now)
    version: str = __version__

    def __post_init__(self) -> None:
        if not self.results:
            raise DataError(f"{self.title}: no results to report on; evaluate the model on at least one center")
