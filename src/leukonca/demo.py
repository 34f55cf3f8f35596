"""The whole story on SYNTHETIC cells, offline, in a few minutes: draw, train, test, predict, report."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from leukonca.data.augmentation import Augmentation
from leukonca.data.splits import split_cells
from leukonca.data.synthetic import SYNTHETIC_CENTERS, SYNTHETIC_IMAGE_UM, draw_cell, synthetic_cells
from leukonca.deploy.predictor import Predictor
from leukonca.deploy.stream import predict_files
from leukonca.errors import UsageError
from leukonca.evaluation.calibrate import calibrate
from leukonca.evaluation.run import Evaluation, evaluate_cells
from leukonca.evaluation.unusual import learn_unusual
from leukonca.explain.explainer import Explainer
from leukonca.files import check_folder, whole_file
from leukonca.models.building import build
from leukonca.models.classifier import Classifier
from leukonca.report.content import SYNTHETIC_NOTE, ExplainedCell
from leukonca.report.evaluation import center_results, read_history, write_evaluation
from leukonca.report.explanation import explained_cell
from leukonca.report.summary import summary_table
from leukonca.report.training import keep_scores
from leukonca.taxonomy import CLASSES
from leukonca.training import checkpoint
from leukonca.training.loop import train
from leukonca.training.recipe import Recipe, recipe_for

CELLS_TO_TRAIN, CELLS_TO_TEST = 120, 30
"""Cells of each class drawn for the training center, and for each of the others."""

EXPLAINED = ("eosinophil", "neutrophil_segmented", "lymphocyte_typical")
"""Classes of the cells that the report explains, one of each."""

EPOCHS_A_MINUTE = 5
"""A machine that could do more still does no more, so that machines of any speed give the same result."""

LONGEST_MINUTES = 24 * 60

NOT_TRAINING = 45.0
"""Seconds of a run that go into anything but training, on two slow cores."""

RECIPE = replace(
    recipe_for("tiny"),
    # The center with the smallest images shows 24 um; grid and margins together must stay below.
    field_um=18.0,
    margin=3,
    # A thousand cells, many passes in little time: small batches and large steps reached most (measured: 55% against
    # 46% with the recipe's own).
    batch_size=8,
    learning_rate=6e-3,
    augmentation=Augmentation(shift=0.04, scale=0.08, stain=0.1),
    validation_images=200,
)


def run_demo(out: Path, *, minutes: float, seed: int, command: str, quiet: bool, say: Callable[[str], None]) -> None:
    """Train on one synthetic center, test on three, predict some cells, and write all of it into a folder.

    Args:
        out: gets ``model/``, ``cells/``, ``cells.csv``, ``metrics.json``, ``predictions.csv`` and ``report.html``.
        minutes: about how long it may take.
        seed: of the cells, the training and the tests.
        command: that led here, for the report.
        quiet: no progress bars.
        say: takes the lines meant for the user.

    Raises:
        UsageError: less time than a run needs at all.
    """
    if not 0 < minutes <= LONGEST_MINUTES:
        raise UsageError(f"--minutes {minutes:g}: must be above 0 and at most {LONGEST_MINUTES}")
    check_folder(out)
    began = time.monotonic()
    home = SYNTHETIC_CENTERS[0]
    say(f"{SYNTHETIC_NOTE}.\n\n1  Drawing cells of 13 classes as three centers would see them ...")
    cells, _ = synthetic_cells(home, CELLS_TO_TRAIN, seed, RECIPE.preprocessing, quiet=quiet)
    split = split_cells(cells, fold=0, seed=seed)

    epochs = _epochs(RECIPE, len(split.train), minutes, minutes * 60 - NOT_TRAINING - (time.monotonic() - began))
    recipe = replace(RECIPE, epochs=epochs)
    say(f"2  Training on {home}: {len(split.train)} cells, {epochs} epochs ...")
    model_folder = out / "model"
    for old in ("config.json", checkpoint.NAME):  # of an earlier demonstration, which this one replaces
        (model_folder / old).unlink(missing_ok=True)
    model = train(cells, split, recipe, model_folder, seed=seed, synthetic=True, quiet=quiet)

    calibrate(model, cells, split, seed=seed, quiet=quiet)
    learn_unusual(model, cells, split, seed=seed, quiet=quiet)

    say("3  Testing on cells that it never saw, of all three centers ...\n")
    note = "test fold 0 of 5, never used in training"
    evaluations = [
        evaluate_cells(model, cells, split.test, name=_short(home), note=note, seed=seed, synthetic=True, quiet=quiet)
    ]
    for center in SYNTHETIC_CENTERS[1:]:
        others, _ = synthetic_cells(center, CELLS_TO_TEST, seed, RECIPE.preprocessing, quiet=quiet)
        every = np.arange(len(others), dtype=np.int64)
        evaluations.append(
            evaluate_cells(
                model, others, every, name=_short(center), note="never seen", seed=seed, synthetic=True, quiet=quiet
            )
        )
    _save(out, model, evaluations, command, seed)
    say(summary_table(center_results(evaluations), synthetic=True))

    say(
        f"The model has seen {_short(home)} only; the others differ in stain, optics and scale.\n"
        "A fall there, even to chance, is what this shows: measure a model at each hospital."
    )

    say("\n4  Classifying image files, as `leukonca predict` does ...\n")
    say(_predict_some(out, home, seed, quiet))
    spent = (time.monotonic() - began) / 60
    say(
        f"\nDone in {spent:.1f} minutes.\n"
        f"  report        {out / 'report.html'}  (open it in a browser)\n"
        f"  model         {model_folder}\n"
        f"  predictions   {out / 'cells.csv'}  (of the images in {out / 'cells'})\n\n"
        "Why it says so, a page for each cell:\n"
        f"  leukonca explain {model_folder} {out / 'cells'} --out {out / 'why'}\n\n"
        "Next, with real cells in folders named after their classes, or a public center:\n"
        "  leukonca data check DIR\n"
        "  leukonca train --data folder=DIR\n"
        "  leukonca train --data acevedo20=DIR        (leukonca data list tells where to get it)\n"
        "For research; not a medical device."
    )


def _short(center: str) -> str:
    """``synthetic_cream`` fits no narrow table; that the cells are synthetic is said above and beneath."""
    return center.removeprefix("synthetic_")


def _epochs(recipe: Recipe, images: int, minutes: float, seconds: float) -> int:
    """As many epochs as fit, measured on a few steps; at least one, and no more than the demonstration needs."""
    a = recipe.architecture
    model = build(a)
    batch = torch.zeros(recipe.batch_size, 3, a.grid, a.grid)
    times = []
    for _ in range(4):  # the first ones compile
        began = time.monotonic()
        model(batch).sum().backward()
        times.append(time.monotonic() - began)
    fit = seconds / (min(times) * images / recipe.batch_size)
    return max(1, min(int(fit), round(EPOCHS_A_MINUTE * minutes)))


def _explain_some(model: Classifier, center: str, seed: int) -> tuple[ExplainedCell, ...]:
    """New cells of the training center, explained for the report."""
    explainer, um = Explainer(model), SYNTHETIC_IMAGE_UM[center]
    explained = []
    for truth in EXPLAINED:
        image, mask = draw_cell(center, truth, CELLS_TO_TRAIN + 1, seed)
        explained.append(explained_cell(explainer(image, image_um=um, mask=mask), truth))
    return tuple(explained)


def _save(out: Path, model: Classifier, evaluations: list[Evaluation], command: str, seed: int) -> None:
    keep_scores(model, evaluations[0])
    model.save(out / "model")
    write_evaluation(
        out,
        model,
        evaluations,
        title="Demonstration on synthetic cells",
        command=command,
        seed=seed,
        history=read_history(out / "model"),
        explained=_explain_some(model, SYNTHETIC_CENTERS[0], seed),
    )


def _predict_some(out: Path, center: str, seed: int, quiet: bool) -> str:
    """Draw one new cell of every other class, classify the files, and show the answers."""
    truths = CLASSES[::2]
    paths = []
    for name in truths:
        image, _ = draw_cell(center, name, CELLS_TO_TRAIN, seed)
        path = out / "cells" / f"{name}.png"
        with whole_file(path) as temporary:
            Image.fromarray(image).save(temporary, format="PNG")
        paths.append(path)
    predictor = Predictor(out / "model")
    um = SYNTHETIC_IMAGE_UM[center]
    predict_files(predictor, [str(path) for path in paths], out / "cells.csv", image_um=um, quiet=quiet)
    images = [np.asarray(Image.open(path)) for path in paths]
    told = predictor(images, image_um=um)
    lines = [f"   {'drawn as':<24}{'predicted':<24}{'probability':>11}"]
    lines += [
        f"   {truth:<24}{label:<24}{probability:>11.2f}  {flag}".rstrip()
        for truth, label, probability, flag in zip(
            truths, told.labels, told.probabilities.max(axis=1), told.flags, strict=True
        )
    ]
    return "\n".join(lines)
