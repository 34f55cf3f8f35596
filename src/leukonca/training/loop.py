"""The training loop: one pass, top to bottom, in plain PyTorch."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leukonca.automaton import engines
from leukonca.data.augment import centre_images, normalise
from leukonca.data.cells import Cells
from leukonca.data.colors import cell_colors
from leukonca.data.splits import Split
from leukonca.errors import ModelError, UsageError
from leukonca.models.building import build
from leukonca.models.classifier import Classifier
from leukonca.progress import Bar, bar
from leukonca.training.checkpoint import Checkpoint, gather, restore, write_checkpoint
from leukonca.training.distributed import Ranks, join
from leukonca.training.draws import Batch, ahead, draws_of, prepared, watched
from leukonca.training.guards import alone, check_finite, check_parts, check_seed_and_device, run_of, start_from
from leukonca.training.objective import learning_rate, loss_of
from leukonca.training.optimisers import optimisers, set_rate
from leukonca.training.pretrained import Pretrained, begin_as, check_fits
from leukonca.training.recipe import Recipe, to_json
from leukonca.training.teacher import Teachers, check_share, check_teachers
from leukonca.training.traces import trained_config, write_log, write_plan

PREDICTION_BATCH = 32


def train(
    cells: Cells,
    split: Split,
    recipe: Recipe,
    folder: Path,
    *,
    seed: int = 0,
    engine: str = "auto",
    device: str = "cpu",
    resume: bool = False,
    pretrained: Pretrained | None = None,
    teachers: Sequence[Pretrained] = (),
    synthetic: bool = False,
    finish: Callable[[Classifier], object] | None = None,
    quiet: bool = False,
) -> Classifier:
    """Train a model on the training part of a split; the test part is never touched.

    The folder gets ``recipe.json``, ``split.json``, ``log.jsonl``, ``checkpoint.safetensors`` after every epoch and
    at the end the model. Every random choice follows from the seed, the epoch and the position in it, so a run that
    is killed and resumed ends with the same weights as one that is not.

    Under ``torchrun`` all its processes train the one model (see `leukonca.training.distributed`). All return it; only
    rank 0 writes.

    Args:
        cells: images of one center, loaded with the recipe's preprocessing.
        split: of these cells.
        recipe: all settings.
        folder: of the run.
        seed: of initial weights, draws, augmentation and fire masks.
        engine: of the automaton, if the model is one; a run may go on with another, and ``log.jsonl`` tells which made
            which epoch.
        device: where to train.
        resume: go on from the folder's checkpoint, if there is one.
        pretrained: a model whose weights, and whose color statistics, it begins with in place of random ones. Images
            of unknown scale are then cut by their nucleus, if that model cuts them so. Whether it has seen the test
            part is not looked at here: `leukonca.report.training.train_and_test` does.
        teachers: models of the same split, whose probabilities the training follows by the recipe's `teacher_share`;
            not on a small grid, which they may never have seen.
        synthetic: the images come from a generator; the model says so ever after.
        finish: what is done with the trained model, while no other process may train there, in place of writing it
            into the folder: so that it gets there with what is found out first, its temperature for one.
        quiet: no progress bar.

    Returns:
        The trained model, with the color statistics of the training images, or those that it began with.

    Raises:
        UsageError: the folder holds a run and `resume` is off, or a run with other settings or data; another process
            trains there; a seed, device or engine that cannot be meant; a pretrained model of another
            architecture; teachers of other classes, views or images.
        DataError: too few images of a class to train on; the disk is full.
        ModelError: the loss is no longer finite; the last good checkpoint stays.
    """
    folder = Path(folder)
    if cells.preprocessing != recipe.preprocessing:
        raise UsageError(f"cells were loaded for {cells.preprocessing}, the recipe needs {recipe.preprocessing}")
    ranks = join(device)
    device, quiet = ranks.device, quiet or not ranks.first
    check_seed_and_device(seed, device)
    check_parts(cells, split, scale_guessed=pretrained is not None and recipe.nucleus_um is not None)
    if pretrained is not None:
        check_fits(recipe, pretrained)
    check_share(recipe, taught=bool(teachers))
    check_teachers(cells, split, teachers)
    guides = Teachers(teachers, device)
    model = _new_model(cells, split, recipe, seed, engine, pretrained).to(device)
    if guides:
        model.config.data["teachers"] = guides.facts()
    ranks.check(model, recipe.batch_size)
    this = run_of(cells, split, recipe, seed, pretrained=pretrained, teachers=teachers)
    with alone(folder):
        start = start_from(folder, this, resume=resume)
        ranks.agree("data and checkpoint", int(this[:15], 16), start.epochs_done if start else 0)
        run = _Run(
            cells=cells,
            split=split,
            recipe=recipe,
            folder=folder,
            seed=seed,
            model=model,
            average={name: value.clone() for name, value in model.state_dict().items()},
            optimisers=optimisers(model, recipe),
            draws=draws_of(recipe, split),
            ranks=ranks,
            teachers=guides,
        )
        if start is not None:
            restore(start.tensors, model, run.average, *run.optimisers)
            run.history, run.steps_done = list(start.history), start.steps_done
        if ranks.first:
            if run.history:
                write_log(folder, run.history)  # the run may have ended between its checkpoint and its log
            earlier = () if pretrained is None else pretrained.trainings
            write_plan(folder, model.config, cells, split, {"engine": engine}, earlier=earlier, synthetic=synthetic)

        with bar("training", recipe.epochs * run.draws, quiet=quiet) as shown:
            shown.advance(len(run.history) * run.draws)
            for epoch in range(len(run.history), recipe.epochs):
                run.history.append(_epoch(run, epoch, shown))
                if ranks.first:
                    tensors = gather(model, run.average, *run.optimisers)
                    write_checkpoint(folder, Checkpoint(tensors, epoch + 1, run.steps_done, tuple(run.history), this))
                    write_log(folder, run.history)

        model.load_state_dict(run.average)
        model = model.to("cpu").eval()
        if finish is not None:
            finish(model)
        elif ranks.first:
            model.save(folder)
        return model


@dataclass(eq=False)
class _Run:
    """A run on its way: what it is given, and what changes from step to step."""

    cells: Cells
    split: Split
    recipe: Recipe
    folder: Path
    seed: int
    model: Classifier
    average: dict[str, Tensor]
    optimisers: tuple[torch.optim.Optimizer, ...]
    draws: int
    ranks: Ranks
    teachers: Teachers
    history: list[dict[str, Any]] = field(default_factory=list)
    steps_done: int = 0

    @property
    def steps_in_all(self) -> int:
        return math.ceil(self.draws / self.recipe.batch_size) * self.recipe.epochs


def _epoch(run: _Run, epoch: int, shown: Bar) -> dict[str, Any]:
    """Train for an epoch and look at the validation images; its record, as in ``log.jsonl``."""
    recipe, began = run.recipe, time.perf_counter()
    losses, right, rate = 0.0, 0, recipe.learning_rate
    colors = run.model.config.normalisation()
    for batch in ahead(prepared(run.cells, run.split, recipe, run.seed, epoch, colors, run.ranks.share)):
        rate = learning_rate(recipe, run.steps_done, run.steps_in_all)
        loss, hits = _step(run, batch, rate)
        losses += loss * batch.size
        right += hits
        shown.advance(batch.size)
        last = f"  validation {run.history[-1]['validation_accuracy']:.1%}" if run.history else ""
        shown.say(f"epoch {epoch + 1}/{recipe.epochs}  loss {loss:.3f}  accuracy {right / batch.done:.1%}{last}")

    model_now = {name: value.clone() for name, value in run.model.state_dict().items()}
    run.model.load_state_dict(run.average)
    validation_loss, validation_accuracy = _validate(run, recipe.grid_of(epoch))
    run.model.load_state_dict(model_now)
    check_finite(torch.tensor(validation_loss), run.folder, run.history)
    return {
        "epoch": epoch + 1,
        "grid": recipe.grid_of(epoch),
        "loss": losses / run.draws,
        "accuracy": right / run.draws,
        "validation_loss": validation_loss,
        "validation_accuracy": validation_accuracy,
        "learning_rate": rate,
        "images": run.draws,
        "seconds": time.perf_counter() - began,
        "engine": engines.chosen(run.model.engine, run.model.device, torch.float32),
        "processes": run.ranks.count,
    }


def _step(run: _Run, batch: Batch, rate: float) -> tuple[float, int]:
    """One step of the optimisers; the mean loss of the batch, and how many of its images were named rightly.

    Each rank computes its share of the batch; what comes out is of the whole batch and the same on all of them.

    Args:
        run: changed in place.
        batch: this rank's part.
        rate: of learning.
    """
    model, recipe, folder, history = run.model, run.recipe, run.folder, run.history
    images, labels = batch.images.to(model.device), batch.labels.to(model.device)  # [b, 3, G, G], [b]
    for optimiser in run.optimisers:
        set_rate(optimiser, rate, recipe.learning_rate)
    model.train(len(labels) > 1)  # one image, the last of an epoch, has no spread that a layer could normalise with
    logits = model(images, seed=batch.seeds)  # [b, classes]
    taught = None
    if run.teachers and images.shape[-1] == recipe.architecture.grid:
        taught = run.teachers.probabilities(images, batch.seeds, model.config.normalisation())
    loss = batch.weight * loss_of(logits, labels, recipe, taught)
    right = float((logits.argmax(dim=1) == labels).sum()) if batch.weight else 0.0
    batch_loss, hits = run.ranks.sums(loss.item(), right)
    check_finite(torch.tensor(batch_loss), folder, history)
    model.zero_grad(set_to_none=True)
    try:
        loss.backward()  # type: ignore[no-untyped-call]
    except ModelError:  # how the engine for processors reports gradients that are not finite
        for value in model.parameters():
            value.grad = torch.full_like(value, math.nan)  # tells the other ranks as well
    run.ranks.add_gradients(model)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip or math.inf)
    check_finite(norm, folder, history)
    for optimiser in run.optimisers:
        optimiser.step()
    check_finite(torch.stack([value.detach().sum() for value in model.parameters()]), folder, history)
    run.steps_done += 1
    _update_average(run.average, model, recipe.average, run.steps_done)
    return batch_loss, int(hits)


def _new_model(
    cells: Cells, split: Split, recipe: Recipe, seed: int, engine: str, pretrained: Pretrained | None
) -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(recipe.architecture, classes=cells.classes, engine=engine)
    if pretrained is None:
        colors = cell_colors(cells, split.train)
    else:
        present = {cells.classes[label] for label in np.unique(cells.labels[split.train])}
        begin_as(model, pretrained, cells.comprises, present)
        colors = pretrained.model.config.normalisation()
    model.config = trained_config(model.config, cells, split, to_json(recipe), seed, colors)
    return model


@torch.no_grad()
def _update_average(average: dict[str, Tensor], model: Classifier, decay: float, steps_done: int) -> None:
    # Young averages forget faster, or the initial weights would stay in them for long.
    keep = min(decay, (1 + steps_done) / (10 + steps_done)) if decay else 0.0
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value, 1 - keep)
        else:  # a counter of a normalisation layer
            average[name].copy_(value)


@torch.no_grad()
def _validate(run: _Run, grid: int) -> tuple[float, float]:
    """Loss and accuracy on the validation images, as they are."""
    model, cells = run.model.eval(), run.cells
    indices = watched(run.split, run.recipe, run.seed)
    plain = replace(run.recipe, label_smoothing=0.0)
    colors = model.config.normalisation()
    total, right = 0.0, 0
    mine = indices[run.ranks.rank :: run.ranks.count]
    for low in range(0, len(mine), PREDICTION_BATCH):
        batch = mine[low : low + PREDICTION_BATCH]
        squares = torch.from_numpy(np.ascontiguousarray(cells.images[batch]))
        labels = torch.from_numpy(cells.labels[batch]).to(model.device)
        views = centre_images(squares, cells.preprocessing, grid=grid)
        images = normalise(views, *colors, stain=cells.preprocessing.stain).to(model.device)
        logits = model(images, seed=0)
        total += float(loss_of(logits, labels, plain)) * len(batch)
        right += int((logits.argmax(dim=1) == labels).sum())
    total, hits = run.ranks.sums(total, right)
    return total / len(indices), hits / len(indices)
