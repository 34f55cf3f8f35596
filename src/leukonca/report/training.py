"""A whole run: training, calibration, the test on its own fold, and everything that is written about it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from leukonca.data.cells import Cells
from leukonca.data.official import note_of_test
from leukonca.data.splits import Split
from leukonca.errors import DataError, UsageError
from leukonca.evaluation.calibrate import calibrate
from leukonca.evaluation.holdout import without_earlier
from leukonca.evaluation.run import Evaluation, evaluate_cells
from leukonca.evaluation.unusual import learn_unusual
from leukonca.models.classifier import Classifier
from leukonca.report.evaluation import read_history, write_evaluation
from leukonca.training.distributed import is_first
from leukonca.training.loop import train
from leukonca.training.pretrained import Pretrained
from leukonca.training.recipe import Recipe
from leukonca.training.seen import Training, earlier_trainings

BEFORE = ("accuracy", "balanced_accuracy", "macro_f1")
"""Scores that are told of the model that a training began as."""

SHOWN_SCORES = ("accuracy", "balanced_accuracy", "macro_f1", "mcc", "macro_auroc", "brier", "ece")


def train_and_test(
    cells: Cells,
    split: Split,
    recipe: Recipe,
    folder: Path,
    *,
    command: str,
    name: str | None = None,
    seed: int = 0,
    engine: str = "auto",
    device: str = "cpu",
    resume: bool = False,
    pretrained: Pretrained | None = None,
    teachers: Sequence[Pretrained] = (),
    cells_before: Cells | None = None,
    synthetic: bool = False,
    quiet: bool = False,
) -> Evaluation:
    """Train, calibrate, test on the split's test part, and write model, metrics, predictions and report.

    Under ``torchrun`` every process trains, calibrates and tests, and rank 0 writes.

    Args:
        command: that led here, for the report.
        name: of the center, as shown; None: that of the cells.
        cells_before: the same cells as the pretrained model sees them, to compare both; None: as the new one does. The
            others as `leukonca.training.loop.train`.

    Returns:
        The test.

    Raises:
        DataError, UsageError, ModelError: see `train`; the test part holds images that a pretrained model has seen.
    """
    if pretrained is not None:
        told = check_unseen(cells, split, pretrained.trainings)
        if told and not quiet and is_first():
            print(f"{cells.center}{told}")
    began_with = cells if cells_before is None else cells_before
    before = None if pretrained is None else as_it_began(pretrained, began_with, split, seed=seed, quiet=quiet)
    common: dict[str, Any] = {"seed": seed, "synthetic": synthetic, "quiet": quiet}
    tests: list[Evaluation] = []

    def finish(model: Classifier) -> None:
        settings = {"command": command, "name": name, "before": before, **common}
        tests.append(calibrate_and_test(model, cells, split, folder, **settings))

    train(
        cells,
        split,
        recipe,
        folder,
        engine=engine,
        device=device,
        resume=resume,
        pretrained=pretrained,
        teachers=teachers,
        finish=finish,
        **common,
    )
    return tests[0]


def as_it_began(
    pretrained: Pretrained, cells: Cells, split: Split, *, seed: int = 0, quiet: bool = False
) -> dict[str, Any] | None:
    """Scores, on the test part, of the model that a training begins as; None where these cells are not for it.

    They are not where its classes are others, or where they were cut out otherwise than for it.
    """
    try:
        metrics = evaluate_cells(pretrained.model, cells, split.test, seed=seed, quiet=quiet).metrics
    except (DataError, UsageError):
        return None
    return {"model": pretrained.name, **{score: metrics[score] for score in BEFORE}}


def calibrate_and_test(
    model: Classifier,
    cells: Cells,
    split: Split,
    folder: Path,
    *,
    command: str,
    name: str | None = None,
    before: Mapping[str, Any] | None = None,
    seed: int = 0,
    synthetic: bool = False,
    quiet: bool = False,
) -> Evaluation:
    """The end of a run: temperature, thresholds and what is usual, the test, and all that is written.

    Args:
        model: trained on the split's training part.
        cells: of its center.
        split: of these cells.
        folder: of the model.
        before: from `as_it_began`; kept with the scores as ``began_as``. The others as `train_and_test`.

    Raises:
        UsageError: see `check_unseen`.
    """
    calibrate(model, cells, split, seed=seed, quiet=quiet)
    learn_unusual(model, cells, split, seed=seed, quiet=quiet)
    note = check_unseen(cells, split, earlier_trainings(folder, model.config), note_of_test(cells, split))
    evaluation = evaluate_cells(
        model, cells, split.test, name=name, note=note, seed=seed, synthetic=synthetic, quiet=quiet
    )
    if before is not None:
        evaluation.metrics["began_as"] = dict(before)
    keep_scores(model, evaluation)
    if is_first():
        model.save(folder)
        write_evaluation(
            folder,
            model,
            [evaluation],
            title=f"{folder.name}: trained and tested on {evaluation.name}",
            command=command,
            seed=seed,
            history=read_history(folder),
        )
    return evaluation


def check_unseen(cells: Cells, split: Split, trainings: Sequence[Training], note: str = "") -> str:
    """Raise unless earlier trainings have seen nothing of the split's test part.

    Args:
        cells: of the center.
        split: of these cells.
        trainings: that the model had behind it when its own began.
        note: what a reader is told of the test.

    Returns:
        The note, and where nobody knows what a training has seen, that.

    Raises:
        UsageError: one has seen some of it, or nobody can say how much.
    """
    for training in trainings:
        try:
            unseen, note = without_earlier(cells, split.test, note, [training])
            known = len(split.test) - len(unseen)
        except DataError as error:
            raise UsageError(f"{error}; its own test part is that of {training.words}") from error
        if known:
            raise UsageError(
                f"{cells.center}: {known:,} of the {len(split.test):,} images of the test were seen by "
                f"{training.words}, so the test would flatter; take the test part that it had itself, other images, "
                "or begin with an earlier model"
            )
    return note


def keep_scores(model: Classifier, evaluation: Evaluation) -> None:
    """Put the scores of a test into the model's config, which its card shows."""
    scores = {name: evaluation.metrics[name] for name in SHOWN_SCORES}
    facts = {"center": evaluation.name, "images": evaluation.metrics["images"], "note": evaluation.note}
    whose = {"patients": evaluation.metrics["patients"]} if "patients" in evaluation.metrics else {}
    model.config = replace(model.config, metrics={**facts, **whose, **scores})
