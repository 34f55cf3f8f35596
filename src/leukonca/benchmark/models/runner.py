"""What the benchmark needs of a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from leukonca.data.cells import Cells
from leukonca.data.preprocessing import Preprocessing
from leukonca.data.splits import Split, split_cells
from leukonca.errors import DataError
from leukonca.evaluation.protocol import Protocol

if TYPE_CHECKING:
    from leukonca.models.classifier import Classifier


@dataclass(frozen=True)
class Run:
    """How to train and test, beside the settings: seed and number of folds; engine and device as convenient."""

    seed: int
    folds: int
    engine: str = "auto"
    device: str = "cpu"
    quiet: bool = False


@dataclass(frozen=True, eq=False)
class Material:
    """What a model is trained on.

    Args:
        cells: of the source center, loaded with the settings' preprocessing.
        split: of these cells.
        others: cells of other centers, to adapt to without labels.
        synthetic: the images come from a generator.
    """

    cells: Cells
    split: Split
    others: Sequence[Cells] = ()
    synthetic: bool = False


@dataclass(frozen=True, eq=False)
class Tested:
    """A model's predictions on the images of one center that it may be tested on.

    Args:
        paths: of the N images.
        labels: int64 [N], position in ``metrics["class_names"]``.
        probabilities: [N, classes], columns in the order of ``metrics["class_names"]``.
        metrics: see `leukonca.evaluation.metrics.metrics_with_intervals`.
        note: which images these are, and how they were normalised.
    """

    paths: Sequence[str]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.floating[Any]]
    metrics: dict[str, Any]
    note: str


class Runner:
    """Base of all runners; `leukonca.benchmark.models` lists them. Settings are plain JSON types."""

    adapts: bool = False
    """The method learns from images of the centers that it is tested on, without labels, where a protocol lets it."""

    engines: bool = False
    """The engines of the automaton can compute it; torch alone if not."""

    def engine(self, run: Run) -> str:
        """The engine that is asked for, where there is a choice."""
        return run.engine if self.engines else "auto"

    def settings(self, size: str) -> dict[str, Any]:
        """The settings of a size (see `leukonca.benchmark.models.SIZES`)."""
        raise NotImplementedError

    def checked(self, settings: Mapping[str, Any], *, scale_known: bool) -> dict[str, Any]:
        """The settings as they are used on a center; without a known scale the whole image is seen.

        Raises:
            UsageError: settings that cannot be meant.
        """
        raise NotImplementedError

    def preprocessing(self, settings: Mapping[str, Any]) -> Preprocessing:
        """How images are cropped and resized."""
        raise NotImplementedError

    def fit(self, settings: Mapping[str, Any], material: Material, folder: Path, run: Run) -> "Classifier":
        """Train on the training part of the split, with the folder for checkpoints; go on with what is there.

        Args:
            settings: as `checked` gave them.
            material: what to train on.
            folder: of the model.
            run: seed and machine.

        Raises:
            DataError, ModelError, UsageError: as `leukonca.training.loop.train`.
        """
        raise NotImplementedError

    def train(self, settings: Mapping[str, Any], material: Material, folder: Path, run: Run) -> None:
        """Fit a model, choose its temperature and thresholds on the validation part, and write it; see `fit`."""
        from leukonca.evaluation.calibrate import calibrate

        model = self.fit(settings, material, folder, run)
        calibrate(model, material.cells, material.split, seed=run.seed, varied=False, quiet=run.quiet)
        model.save(folder)

    def test(self, folder: Path, cells: Cells, protocol: Protocol, fold: int, *, name: str, run: Run) -> Tested:
        """Test the model of a folder; which images may be tested is decided as in ``leukonca evaluate``.

        A center that is too small to be divided into the folds is tested whole, whatever the protocol.

        Args:
            folder: that `train` wrote.
            cells: of a center, loaded with the settings' preprocessing.
            protocol: says which images are tested and with whose colors.
            fold: the model's own test fold.
            name: of the center, as shown.
            run: seed and machine.

        Raises:
            DataError: there is nothing to test on.
            ModelError: the folder is damaged.
        """
        from leukonca.evaluation.holdout import held_out
        from leukonca.evaluation.run import evaluate_cells
        from leukonca.models.building import load

        model = load(folder, engine=self.engine(run), device=run.device)
        only = fold if protocol.same_fold and divisible(cells, run.folds, run.seed) else None
        indices, note = held_out(cells, model.config, folder, only)
        evaluation = evaluate_cells(
            model,
            cells,
            indices,
            name=name,
            note=note,
            normalisation=protocol.normalisation,
            seed=run.seed,
            quiet=run.quiet,
        )
        return Tested(
            evaluation.paths, evaluation.labels, evaluation.probabilities, evaluation.metrics, evaluation.note
        )


def divisible(cells: Cells, folds: int, seed: int) -> bool:
    """Whether every class of a center is large enough for each of the folds."""
    try:
        for fold in range(folds):
            split_cells(cells, fold=fold, folds=folds, seed=seed)
    except DataError:
        return False
    return True
