"""A model on the test images of one center: probabilities and metrics."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from leukonca.data.augment import as_images, normalise
from leukonca.data.cells import Cells
from leukonca.data.colors import Color, cell_colors
from leukonca.data.preprocessing import centre_view
from leukonca.data.varied import varied_view
from leukonca.errors import DataError, UsageError
from leukonca.evaluation.calibration import tempered
from leukonca.evaluation.certainty import by_flag, certainty
from leukonca.evaluation.coarse import scoring_level
from leukonca.evaluation.flags import flags, threshold_of, uncertain
from leukonca.evaluation.intervals import numbered
from leukonca.evaluation.metrics import metrics_with_intervals
from leukonca.evaluation.prior import Prior
from leukonca.evaluation.runs import check_runs
from leukonca.evaluation.unusual import head_inputs, unusual_facts
from leukonca.models.classifier import Classifier
from leukonca.models.config import ModelConfig
from leukonca.progress import bar

BATCH = 32

Normalisation = Literal["training", "target"]
"""Whose color statistics the test images are normalised with: the training center's, or, as in the published
table, those of the tested images themselves."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Predictions on the test images of one center.

    Args:
        name: of the center, as shown.
        paths: of the N tested images.
        labels: int64 [N], positions in ``metrics["class_names"]``.
        probabilities: of the classes that are scored, [N, S], in the order of ``metrics["class_names"]``: the model's,
            or, where center and model are not equally fine, the coarser ones (see `leukonca.evaluation.coarse`).
        metrics: see `metrics_with_intervals`. Further ``certainty``: temperature and threshold of the flag `uncertain`,
            whether they were ``chosen`` for this model, and what `leukonca.evaluation.certainty` says; ``unusual``, if
            the model can tell: see `leukonca.evaluation.unusual.unusual_facts`, with its ``answers``, see
            `leukonca.evaluation.certainty.by_flag`; ``scored_as``
            where other classes are scored than the model's: scored class -> the model's outputs and the center's
            labels that count as it.
        outputs: the model's probabilities, float32 [N, classes].
        squares: what the model saw, uint8 [N, grid, grid, 3].
        note: which images these are, and how they were normalised.
        fingerprint: of the center's cells.
        synthetic: the images come from a generator.
    """

    name: str
    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.floating[Any]]
    metrics: dict[str, Any]
    outputs: NDArray[np.float32]
    squares: NDArray[np.uint8]
    note: str
    fingerprint: str
    synthetic: bool


def evaluate_cells(
    model: Classifier,
    cells: Cells,
    indices: NDArray[np.int64],
    *,
    name: str | None = None,
    note: str = "",
    normalisation: Normalisation = "training",
    runs: int = 1,
    varied: bool = False,
    prior: Prior | None = None,
    seed: int = 0,
    synthetic: bool = False,
    quiet: bool = False,
) -> Evaluation:
    """Test a model.

    Args:
        model: with the color statistics of its training center.
        cells: loaded with the model's preprocessing. Where they know their patients, intervals are of patients.
        indices: which of the cells to test on, int64 [N].
        name: of the center; None: that of the cells.
        note: which images these are.
        normalisation: see `Normalisation`.
        runs: how often each image is run, with seeds seed, seed + 1, ...; probabilities are averaged.
        varied: each run sees the images otherwise (`leukonca.data.varied`).
        prior: how often each class is expected; None: as the model was trained.
        seed: of the first run's fire masks, the same for every image, and of the bootstrap.
        synthetic: the images come from a generator; it is said wherever the results are shown.
        quiet: no progress bar.

    Raises:
        DataError: there is nothing to test on, or the center's classes do not fit the model's.
        UsageError: cells that were loaded for another model; runs that would repeat each other.
        ModelError: the model was never fitted to a center.
    """
    if len(indices) == 0:
        raise DataError(f"{cells.center}: no image is left to test on")
    check_runs(runs, varied=varied, seed=seed, at_random=model.config.architecture.fires_at_random)
    if cells.preprocessing != model.config.preprocessing:
        raise UsageError(f"cells were loaded for {cells.preprocessing}, the model needs {model.config.preprocessing}")
    level = scoring_level(cells, model.config)
    statistics = model.config.normalisation()
    if normalisation == "target" and model.normalises:
        statistics = cell_colors(cells, indices)
    with head_inputs(model) as features:
        logits = np.stack(
            [
                predicted_logits(
                    model,
                    cells,
                    indices,
                    statistics,
                    seed=seed + run,
                    view=run if varied else 0,
                    doing="testing" if runs == 1 else f"run {run + 1} of {runs}",
                    quiet=quiet,
                )
                for run in range(runs)
            ]
        )  # [R, N, K]
    temperature = model.config.temperature_of(varied=varied)
    before, after = without = [tempered(logits, each).mean(axis=0) for each in (1.0, temperature)]
    if prior is not None:
        before, after = (prior.weigh(each)[0] for each in without)
    changed = after.argmax(axis=1) != without[1].argmax(axis=1)
    outputs = after.astype(np.float32)
    probabilities, labels = level.probabilities(outputs), level.labels[cells.labels[indices]]
    training = "the first model's colors" if model.config.learned_elsewhere else "the training center's colors"
    whose = training if normalisation == "training" else "the tested images' own colors"
    colors = f"normalised with {whose}" if model.normalises else "colors as they are"
    if runs > 1:
        colors += f"; mean of {runs} runs{', each of the cell turned, mirrored or sized otherwise' if varied else ''}"
    colors += f"; prior {prior.name}" if prior is not None else ""
    patients = cells.patients_of(indices)
    numbers = numbered(patients)
    metrics = metrics_with_intervals(
        probabilities,
        labels,
        classes=level.classes,
        trained_classes=level.trained_classes,
        patients=patients,
        seed=seed,
    )
    metrics["certainty"] = {
        "temperature": temperature,
        "threshold": threshold_of(model.config),
        "chosen": "after" in model.config.calibration,
        **certainty(
            level.probabilities(before),
            level.probabilities(after),
            labels,
            uncertain(outputs, model.config, changed),
            patients=numbers,
            seed=seed,
        ),
    }
    if model.unusual is not None and "unusual" in model.config.thresholds:
        scores = model.unusual.of(np.concatenate(features)).reshape(runs, -1).mean(axis=0)
        usual = model.unusual.usual if _foreign(cells, model.config) else None
        metrics["unusual"] = {
            **unusual_facts(
                scores, labels, level.classes, config=model.config, usual=usual, patients=numbers, seed=seed
            ),
            "answers": by_flag(
                flags(outputs, scores, model.config, changed), probabilities.argmax(axis=1) == labels, numbers
            ),
        }
    if runs > 1:
        metrics["runs"] = {"number": runs, "varied": varied}
    if prior is not None:
        shares = {name: float(share) for name, share in zip(model.config.classes, prior.shares, strict=True)}
        otherwise = level.probabilities(without[1]).argmax(axis=1)
        changed_scored = probabilities.argmax(axis=1) != otherwise
        metrics["prior"] = {"name": prior.name, "shares": shares, "changed": float(changed_scored.mean())}
    if not level.plain:
        metrics["scored_as"] = level.names
    return Evaluation(
        name=name or cells.center,
        paths=tuple(cells.paths[i] for i in indices),
        labels=labels,
        probabilities=probabilities,
        metrics=metrics,
        outputs=outputs,
        squares=centre_view(cells.images[indices], cells.preprocessing),
        note=f"{note + '; ' if note else ''}{colors}",
        fingerprint=cells.fingerprint,
        synthetic=synthetic,
    )


def _foreign(cells: Cells, config: ModelConfig) -> bool:
    """Whether cells come from another center than a model's; folders of one's own are known by their content alone."""
    if config.data.get("fingerprint") == cells.fingerprint:
        return False
    return cells.center == "folder" or cells.center != config.data.get("center")


def class_logits(
    model: Classifier, squares: NDArray[np.uint8], colors: tuple[Color, Color], *, seed: int = 0, view: int = 0
) -> NDArray[np.float32]:
    """The model's logits of some squares, before any temperature.

    Args:
        model: of any kind; it is in the mode that it was in, afterwards.
        squares: uint8 [N, side, side, 3], margins included, all computed at once.
        colors: mean and standard deviation that they are normalised with.
        seed: of the fire masks, the same for every image.
        view: number of the view that is seen of them, 0 the plain one; see `leukonca.data.varied`.

    Returns:
        float32 [N, classes].
    """
    was_training = model.training
    model.eval()
    with torch.no_grad():
        settings = model.config.preprocessing
        seen = np.ascontiguousarray(varied_view(squares, settings, view))  # uint8 [N, G, G, 3]
        images = normalise(as_images(torch.from_numpy(seen)), *colors, settings.stain)  # [N, 3, G, G]
        logits: NDArray[np.float32] = model(images.to(model.device), seed=seed).float().cpu().numpy()
    model.train(was_training)
    return logits


def class_probabilities(
    model: Classifier, squares: NDArray[np.uint8], statistics: tuple[Color, Color], *, seed: int = 0
) -> NDArray[np.float32]:
    """The model's probabilities of some squares, at its temperature, float32 [N, classes]; arguments as above."""
    return tempered(class_logits(model, squares, statistics, seed=seed), model.config.temperature).astype(np.float32)


def predicted_logits(
    model: Classifier,
    cells: Cells,
    indices: NDArray[np.int64],
    colors: tuple[Color, Color],
    *,
    seed: int = 0,
    view: int = 0,
    doing: str = "testing",
    quiet: bool = False,
) -> NDArray[np.float32]:
    """The model's logits of some cells, before any temperature.

    Args:
        model: of any kind.
        cells: loaded with the model's preprocessing.
        indices: which of them, int64 [N], at least one.
        colors: see `class_logits`, as `seed`.
        seed: of the fire masks.
        view: see `class_logits`.
        doing: what the progress bar says.
        quiet: no progress bar.

    Returns:
        float32 [N, classes].
    """
    parts = []
    with bar(f"{doing} on {cells.center}", len(indices), quiet=quiet) as shown:
        for low in range(0, len(indices), BATCH):
            batch = indices[low : low + BATCH]
            parts.append(class_logits(model, cells.images[batch], colors, seed=seed, view=view))
            shown.advance(len(batch))
    joined: NDArray[np.float32] = np.concatenate(parts)
    return joined
