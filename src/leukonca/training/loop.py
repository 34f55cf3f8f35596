"""The training loop: one pass, top to bottom, in plain PyTorch."""

import hashlib
import json
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from leukonca import __version__
from leukonca.data.augment import augment, centre_images, normalise
from leukonca.data.cells import Cells
from leukonca.data.colors import Color, cell_colors
from leukonca.data.sampling import balanced_draws
from leukonca.data.splits import Split, write_split
from leukonca.errors import ModelError, UsageError
from leukonca.files import fingerprint, write_json, write_text
from leukonca.models.config import ModelConfig
from leukonca.models.nca import NCAClassifier
from leukonca.progress import Bar, bar
from leukonca.taxonomy import CLASSES
from leukonca.training.checkpoint import Checkpoint, gather, restore, write_checkpoint
from leukonca.training.guards import check_finite, check_parts, check_seed_and_device, diverged, start_from
from leukonca.training.recipe import Recipe, to_json

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
    synthetic: bool = False,
    quiet: bool = False,
) -> NCAClassifier:
    """Train an automaton on the training part of a split; the test part is never touched.

    The folder gets ``recipe.json``, ``split.json``, ``log.jsonl``, ``checkpoint.safetensors`` after every epoch and
    at the end the model. Every random choice follows from the seed, the epoch and the position in it, so a run that
    is killed and resumed ends with the same weights as one that is not.

    Args:
        cells: images of one center, loaded with the recipe's preprocessing.
        split: of these cells.
        recipe: all settings.
        folder: of the run.
        seed: of initial weights, draws, augmentation and fire masks.
        engine: of the automaton.
        device: where to train.
        resume: go on from the folder's checkpoint, if there is one.
        synthetic: the images come from a generator; the model says so ever after.
        quiet: no progress bar.

    Returns:
        The trained model, with the color statistics of the training images.

    Raises:
        UsageError: the folder holds a run and `resume` is off, or a run with other settings or data; a seed, device
            or engine that cannot be meant.
        DataError: too few images of a class to train on; the disk is full.
        ModelError: the loss is no longer finite; the last good checkpoint stays.
    """
    folder = Path(folder)
    if cells.preprocessing != recipe.preprocessing:
        raise UsageError(f"cells were loaded for {cells.preprocessing}, the recipe needs {recipe.preprocessing}")
    check_seed_and_device(seed, device)
    check_parts(cells, split)
    run = fingerprint(to_json(recipe), seed, cells.fingerprint, split.train.tolist(), split.validation.tolist())
    start = start_from(folder, run, resume=resume)

    mean, std = cell_colors(cells, split.train)
    model = _new_model(cells, split, recipe, seed, engine, mean, std).to(device)
    average = {name: value.clone() for name, value in model.state_dict().items()}
    optimiser = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.999))
    history: list[dict[str, Any]] = []
    steps_done = 0
    if start is not None:
        restore(start.tensors, model, average, optimiser)
        history, steps_done = list(start.history), start.steps_done
        _write_log(folder, history)  # the run may have ended between its checkpoint and its log
    write_json(
        folder / "recipe.json", {**to_json(recipe), "seed": seed, "version": __version__, "data": cells.fingerprint}
    )
    write_split(folder / "split.json", split, cells)
    model.config.data["split_sha256"] = hashlib.sha256((folder / "split.json").read_bytes()).hexdigest()
    if synthetic:
        model.config.data["synthetic"] = True

    draws = recipe.draws or len(split.train)
    steps_per_epoch = math.ceil(draws / recipe.batch_size)
    steps_in_all = steps_per_epoch * recipe.epochs
    watched = _validation_sample(split.validation, recipe.validation_images, seed)
    with bar("training", recipe.epochs * draws, quiet=quiet) as shown:
        shown.advance(len(history) * draws)
        for epoch in range(len(history), recipe.epochs):
            began = time.perf_counter()
            losses, right = 0.0, 0
            for batch, positions in _batches(cells, split, recipe, seed, epoch, draws):
                labels = torch.from_numpy(cells.labels[batch]).to(device)  # [B]
                images = _views(cells, batch, recipe, seed, epoch, positions, mean, std).to(device)  # [B, 3, G, G]
                rate = learning_rate(recipe, steps_done, steps_in_all)
                for group in optimiser.param_groups:
                    group["lr"] = rate
                logits = model(images, seed=_numbers(seed, epoch, positions, b"fire", np.uint32))  # [B, classes]
                loss = _loss(logits, labels, recipe)
                check_finite(loss, folder, history)
                optimiser.zero_grad(set_to_none=True)
                try:
                    loss.backward()  # type: ignore[no-untyped-call]
                except ModelError as error:  # how the engine for processors reports gradients that are not finite
                    raise diverged(folder, history) from error
                norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip or math.inf)
                check_finite(norm, folder, history)
                optimiser.step()
                check_finite(torch.stack([value.detach().sum() for value in model.parameters()]), folder, history)
                steps_done += 1
                _update_average(average, model, recipe.average, steps_done)
                losses += loss.item() * len(batch)
                right += int((logits.argmax(dim=1) == labels).sum())
                _tell(shown, epoch, recipe, loss.item(), right / (int(positions[-1]) + 1), history, len(batch))

            model_now = {name: value.clone() for name, value in model.state_dict().items()}
            model.load_state_dict(average)
            validation_loss, validation_accuracy = _validate(
                model, cells, watched, mean, std, recipe, recipe.grid_of(epoch)
            )
            check_finite(torch.tensor(validation_loss), folder, history)
            history.append(
                {
                    "epoch": epoch + 1,
                    "grid": recipe.grid_of(epoch),
                    "loss": losses / draws,
                    "accuracy": right / draws,
                    "validation_loss": validation_loss,
                    "validation_accuracy": validation_accuracy,
                    "learning_rate": rate,
                    "images": draws,
                    "seconds": time.perf_counter() - began,
                }
            )
            model.load_state_dict(model_now)
            tensors = gather(model, average, optimiser)
            write_checkpoint(folder, Checkpoint(tensors, epoch + 1, steps_done, tuple(history), run))
            _write_log(folder, history)

    model.load_state_dict(average)
    model = model.to("cpu").eval()
    model.save(folder)
    return model


def learning_rate(recipe: Recipe, step: int, steps_in_all: int) -> float:
    """The rate at a step, counted from 0."""
    rise = min(1.0, (step + 1) / recipe.warmup) if recipe.warmup else 1.0
    if recipe.schedule == "exponential":
        return recipe.learning_rate * rise * recipe.decay**step
    done = min(1.0, max(0, step - recipe.warmup) / max(1, steps_in_all - recipe.warmup))
    return recipe.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * done))


def _new_model(
    cells: Cells, split: Split, recipe: Recipe, seed: int, engine: str, mean: Color, std: Color
) -> NCAClassifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = NCAClassifier.from_architecture(recipe.architecture, classes=cells.classes, engine=engine)
    model.config = ModelConfig(
        architecture=recipe.architecture,
        classes=cells.classes,
        preprocessing=recipe.preprocessing,
        image_um=cells.image_um,
        mean=mean,
        std=std,
        trained_classes=tuple(cells.classes[label] for label in np.unique(cells.labels[split.train])),
        recipe={**to_json(recipe), "seed": seed},
        data={
            "center": cells.center,
            "fingerprint": cells.fingerprint,
            "fold": split.fold,
            "folds": split.folds,
            "training_images": len(split.train),
            "validation_images": len(split.validation),
        },
    )
    if cells.classes != CLASSES:  # what its outputs mean, for tests on centers with other labels
        model.config.data["comprises"] = {name: list(finer) for name, finer in cells.comprises.items()}
    return model


def _batches(
    cells: Cells, split: Split, recipe: Recipe, seed: int, epoch: int, draws: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Indices of cells and their positions in the epoch."""
    if recipe.balance:
        order = split.train[balanced_draws(cells.labels[split.train], seed, epoch, draws)]
    else:
        shuffled = np.random.default_rng([seed, epoch]).permutation(split.train)
        order = np.resize(shuffled, draws)
    for low in range(0, draws, recipe.batch_size):
        batch = order[low : low + recipe.batch_size]
        yield batch, np.arange(low, low + len(batch))


def _views(
    cells: Cells,
    batch: NDArray[np.int64],
    recipe: Recipe,
    seed: int,
    epoch: int,
    positions: NDArray[np.int64],
    mean: Color,
    std: Color,
) -> Tensor:
    squares = torch.from_numpy(np.ascontiguousarray(cells.images[batch]))  # uint8 [B, side, side, 3]
    seeds = torch.from_numpy(_numbers(seed, epoch, positions, b"view", np.int64))
    views = augment(squares, recipe.preprocessing, recipe.augmentation, seeds, grid=recipe.grid_of(epoch))
    return normalise(views, mean, std)


def _numbers(seed: int, epoch: int, positions: NDArray[np.int64], use: bytes, dtype: Any) -> NDArray[Any]:
    """One independent non-negative number for each position of an epoch and each use."""
    words = [np.random.SeedSequence([seed, epoch, int(p), *use]).generate_state(1, np.uint64)[0] for p in positions]
    return (np.array(words, np.uint64) >> np.uint64(33 if dtype is np.uint32 else 2)).astype(dtype)


def _loss(logits: Tensor, labels: Tensor, recipe: Recipe) -> Tensor:
    if recipe.loss == "binary_cross_entropy":
        return functional.binary_cross_entropy_with_logits(
            logits, functional.one_hot(labels, logits.shape[1]).to(logits)
        )
    return functional.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)


@torch.no_grad()
def _update_average(average: dict[str, Tensor], model: NCAClassifier, decay: float, steps_done: int) -> None:
    # Young averages forget faster, or the initial weights would stay in them for long.
    keep = min(decay, (1 + steps_done) / (10 + steps_done)) if decay else 0.0
    for name, value in model.state_dict().items():
        average[name].lerp_(value, 1 - keep)


def _validation_sample(validation: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    if len(validation) <= most:
        return validation
    return np.sort(np.random.default_rng(seed).choice(validation, most, replace=False))


@torch.no_grad()
def _validate(
    model: NCAClassifier, cells: Cells, indices: NDArray[np.int64], mean: Color, std: Color, recipe: Recipe, grid: int
) -> tuple[float, float]:
    device = model.kernels.device
    total, right = 0.0, 0
    for low in range(0, len(indices), PREDICTION_BATCH):
        batch = indices[low : low + PREDICTION_BATCH]
        squares = torch.from_numpy(np.ascontiguousarray(cells.images[batch]))
        labels = torch.from_numpy(cells.labels[batch]).to(device)
        logits = model(normalise(centre_images(squares, cells.preprocessing, grid=grid), mean, std).to(device), seed=0)
        total += float(_loss(logits, labels, replace(recipe, label_smoothing=0.0))) * len(batch)
        right += int((logits.argmax(dim=1) == labels).sum())
    return total / len(indices), right / len(indices)


def _tell(
    shown: Bar, epoch: int, recipe: Recipe, loss: float, accuracy: float, history: list[dict[str, Any]], size: int
) -> None:
    shown.advance(size)
    last = f"  validation {history[-1]['validation_accuracy']:.1%}" if history else ""
    shown.say(f"epoch {epoch + 1}/{recipe.epochs}  loss {loss:.3f}  accuracy {accuracy:.1%}{last}")


def _write_log(folder: Path, history: list[dict[str, Any]]) -> None:
    write_text(folder / "log.jsonl", "".join(json.dumps(line, allow_nan=False) + "\n" for line in history))
