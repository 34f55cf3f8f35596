"""How a model's answers and its confidence hold when images get worse, kind by kind and strength by strength."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukonca.data.cells import Cells
from leukonca.data.colors import cell_colors
from leukonca.errors import DataError, UsageError
from leukonca.evaluation.coarse import Level, scoring_level
from leukonca.evaluation.corruption import STRENGTHS, Corruption, corrupt, find_corruptions, pixel_um
from leukonca.evaluation.intervals import numbered, share_interval
from leukonca.evaluation.metrics import metrics_with_intervals
from leukonca.evaluation.run import BATCH, Normalisation, class_probabilities
from leukonca.models.classifier import Classifier
from leukonca.progress import Bar, bar

IMAGES = 500
"""Images that are corrupted, unless told otherwise: 12 kinds at 5 strengths are 60 tests of each."""

SCORES = ("accuracy", "balanced_accuracy", "ece")
"""What is measured at every strength; `leukonca.evaluation.metrics.DEFINITIONS` says what they mean."""

Score = Mapping[str, float | None]


@dataclass(frozen=True)
class Curve:
    """One kind of corruption.

    Args:
        kind: which.
        strengths: tested, of 1 to 5.
        scores: score -> one ``{"value", "low", "high"}`` a strength; accuracy has Wilson's 95% interval, the others
            have none.
        relative_loss: 1 - mean accuracy over the strengths / accuracy without corruption; None: that was 0.
    """

    kind: Corruption
    strengths: tuple[int, ...]
    scores: Mapping[str, tuple[Score, ...]]
    relative_loss: float | None

    @property
    def mean_accuracy(self) -> float:
        """Over the strengths."""
        return float(np.mean([entry["value"] for entry in self.scores["accuracy"]]))


@dataclass(frozen=True)
class Robustness:
    """All kinds, on the same images.

    Args:
        images: how many.
        clean: scores of the unchanged images.
        curves: kind -> its curve.
    """

    images: int
    clean: Mapping[str, Score]
    curves: Mapping[str, Curve]

    @property
    def shifted_accuracy(self) -> float:
        """Mean over kinds and strengths."""
        return float(np.mean([curve.mean_accuracy for curve in self.curves.values()]))

    @property
    def relative_loss(self) -> float | None:
        """Mean over the kinds: the share of the accuracy that corruption takes; None: there was none to take."""
        losses = [curve.relative_loss for curve in self.curves.values() if curve.relative_loss is not None]
        return float(np.mean(losses)) if losses else None

    def facts(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "images": self.images,
            "clean": {name: dict(score) for name, score in self.clean.items()},
            "shifted_accuracy": self.shifted_accuracy,
            "relative_loss": self.relative_loss,
            "kinds": {
                name: {
                    "what": curve.kind.words,
                    "unit": curve.kind.unit,
                    "strengths": list(curve.strengths),
                    "values": [curve.kind.values[strength - 1] for strength in curve.strengths],
                    **{score: [dict(entry) for entry in entries] for score, entries in curve.scores.items()},
                    "relative_loss": curve.relative_loss,
                }
                for name, curve in self.curves.items()
            },
        }


def robustness(
    model: Classifier,
    cells: Cells,
    indices: NDArray[np.int64],
    *,
    kinds: Iterable[str] | None = None,
    strengths: Sequence[int] = STRENGTHS,
    images: int | None = IMAGES,
    normalisation: Normalisation = "training",
    seed: int = 0,
    quiet: bool = False,
) -> Robustness:
    """Test a model on corrupted images.

    Args:
        model: of any kind, with the color statistics of its training center.
        cells: loaded with the model's preprocessing.
        indices: which of the cells may be tested on, int64 [N].
        kinds: keys of `leukonca.evaluation.corruption.CORRUPTIONS`; None: all.
        strengths: of 1 to 5.
        images: test on so many of them, drawn by the seed; None: on all.
        normalisation: whose color statistics images are normalised with; "target" means those of the images as they
            are after corruption.
        seed: of the draw, the corruptions and the fire masks.
        quiet: no progress bar.

    Raises:
        UsageError: unknown kinds or strengths, none of them, or cells that were loaded for another model.
        DataError: there is nothing to test on, or the center's classes do not fit the model's.
        ModelError: the model was never fitted to a center.
    """
    wanted = find_corruptions(kinds)
    if not wanted or not strengths or not set(strengths) <= set(STRENGTHS):
        raise UsageError(f"robustness: needs at least one kind, and strengths from 1 to 5; got {list(strengths)}")
    if images is not None and images < 1:
        raise UsageError(f"robustness: {images} images; give at least 1")
    if len(indices) == 0:
        raise DataError(f"{cells.center}: no image is left to test on")
    if cells.preprocessing != model.config.preprocessing:
        raise UsageError(f"cells were loaded for {cells.preprocessing}, the model needs {model.config.preprocessing}")
    chosen = _some(indices, images, seed)
    tester = _Tester(model, cells, chosen, scoring_level(cells, model.config), normalisation, seed)
    total = len(chosen) * (1 + len(wanted) * len(strengths))
    with bar(f"corrupting {cells.center}", total, quiet=quiet) as shown:
        clean = tester.scores(None, 0, shown)
        curves = {kind.name: _curve(tester, kind, tuple(strengths), clean, shown) for kind in wanted}
    return Robustness(len(chosen), MappingProxyType(clean), MappingProxyType(curves))


def shifted_accuracy(
    model: Classifier,
    cells: Cells,
    indices: NDArray[np.int64],
    kinds: Iterable[str] | None = None,
    strengths: Sequence[int] = STRENGTHS,
    *,
    images: int | None = IMAGES,
    seed: int = 0,
) -> float:
    """One number to choose between models by: mean accuracy over synthetic shifts of validation images.

    With the same cells, indices and seed, all models are tested on the same images with the same changes.

    Args:
        model, cells, indices, images, seed: see `robustness`.
        kinds: see `robustness`.
        strengths: see `robustness`.

    Returns:
        0 to 1: `Robustness.shifted_accuracy`.
    """
    result = robustness(model, cells, indices, kinds=kinds, strengths=strengths, images=images, seed=seed, quiet=True)
    return result.shifted_accuracy


@dataclass(frozen=True, eq=False)
class _Tester:
    model: Classifier
    cells: Cells
    chosen: NDArray[np.int64]
    level: Level
    normalisation: Normalisation
    seed: int

    def scores(self, kind: str | None, strength: int, shown: Bar) -> dict[str, Score]:
        """Of the chosen images under one kind at one strength; None: unchanged."""
        squares = self.cells.images[self.chosen]  # [N, side, side, 3]
        if kind is not None:
            um = pixel_um(self.cells.preprocessing, self.cells.image_um)
            squares = corrupt(squares, kind, strength, places=self.chosen, um_per_pixel=um, seed=self.seed)
        statistics = self.model.config.normalisation()
        if self.normalisation == "target" and self.model.normalises:
            statistics = cell_colors(replace(self.cells, images=squares), np.arange(len(squares)))
        parts = []
        for low in range(0, len(squares), BATCH):
            parts.append(class_probabilities(self.model, squares[low : low + BATCH], statistics, seed=self.seed))
            shown.advance(len(parts[-1]))
        probabilities = self.level.probabilities(np.concatenate(parts))
        labels = self.level.labels[self.cells.labels[self.chosen]]
        measured = metrics_with_intervals(probabilities, labels, classes=self.level.classes, draws=0)
        found: dict[str, Score] = {name: measured[name] for name in SCORES}
        whose = numbered(self.cells.patients_of(self.chosen))
        ends = share_interval(probabilities.argmax(axis=1) == labels, whose) or (None, None)
        return {**found, "accuracy": {**found["accuracy"], "low": ends[0], "high": ends[1]}}


def _curve(
    tester: _Tester, kind: Corruption, strengths: tuple[int, ...], clean: Mapping[str, Score], shown: Bar
) -> Curve:
    measured = [tester.scores(kind.name, strength, shown) for strength in strengths]
    scores = {name: tuple(entry[name] for entry in measured) for name in SCORES}
    before = clean["accuracy"]["value"] or 0.0
    after = float(np.mean([entry["value"] for entry in scores["accuracy"]]))
    return Curve(kind, strengths, MappingProxyType(scores), 1.0 - after / before if before > 0 else None)


def _some(indices: NDArray[np.int64], most: int | None, seed: int) -> NDArray[np.int64]:
    """So many of them, each equally likely, in their order."""
    if most is None or len(indices) <= most:
        return indices
    chance = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed % 2**64, len(indices)])))
    return indices[np.sort(np.argsort(chance.random(len(indices)), kind="stable")[:most])]
