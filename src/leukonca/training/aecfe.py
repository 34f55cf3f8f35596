"""Trains an AE-CFE: the autoencoder on one or more centers without labels, then a forest on the source center."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leukonca.data.augment import centre_images
from leukonca.data.cells import Cells
from leukonca.data.splits import Split
from leukonca.errors import UsageError
from leukonca.files import fingerprint
from leukonca.models.aecfe import AECFE
from leukonca.models.extractors import StainExtractor, load_detector
from leukonca.models.forest import Forest
from leukonca.progress import Bar, bar
from leukonca.training.aecfe_loss import domain_loss, similarity_map
from leukonca.training.aecfe_recipe import AECFERecipe, to_json
from leukonca.training.checkpoint import Checkpoint, gather, restore, write_checkpoint
from leukonca.training.guards import alone, check_finite, check_parts, check_seed_and_device, start_from
from leukonca.training.traces import trained_config, write_log, write_plan

LATENT_BATCH = 64

STANDARD = 500
"""Images of a center that say what features are like, at most, evenly over those that are trained on."""


def train_aecfe(
    centers: Sequence[Cells],
    source: int,
    split: Split,
    recipe: AECFERecipe,
    folder: Path,
    *,
    seed: int = 0,
    device: str = "cpu",
    resume: bool = False,
    synthetic: bool = False,
    quiet: bool = False,
) -> AECFE:
    """Train an AE-CFE; labels of the source center's training part are all that is used of labels.

    The folder gets the same files as by `leukonca.training.loop.train`. Every random choice follows from the seed and
    the epoch, so a run that is killed and resumed ends with the same weights as one that is not.

    Args:
        centers: their images, loaded with the recipe's preprocessing. In protocol `strict` only those of the source
            center are looked at, and only its training part.
        source: which of them the forest is trained on.
        split: of the source center's cells.
        recipe: all settings.
        folder: of the run.
        seed: of initial weights, of the order of the images, and of the forest.
        device: where to train.
        resume: go on from the folder's checkpoint, if there is one.
        synthetic: the images come from a generator; the model says so ever after.
        quiet: no progress bar.

    Returns:
        The trained model, in evaluation mode on the CPU.

    Raises:
        UsageError: the folder holds a run and `resume` is off, or a run with other settings or data; another process
            trains there; cells of another preprocessing; a seed, device or source that cannot be meant; torchvision is
            missing where it is needed.
        DataError: too few images of a class to train on; the disk is full.
        ModelError: the loss is no longer finite; the last good checkpoint stays.
    """
    folder = Path(folder)
    if not 0 <= source < len(centers):
        raise UsageError(f"source {source}: there are {len(centers)} centers")
    for cells in centers:
        if cells.preprocessing != recipe.preprocessing:
            raise UsageError(f"cells were loaded for {cells.preprocessing}, the recipe needs {recipe.preprocessing}")
    check_seed_and_device(seed, device)
    home = centers[source]
    check_parts(home, split)
    pool = _pool(centers, source, split, recipe)
    seen = [(centers[number].fingerprint, indices.tolist()) for number, indices in pool.items()]
    settings = fingerprint(to_json(recipe), seed, seen, source, split.train.tolist(), _digest(recipe.detector))
    model = _new_model(centers, source, split, recipe, seed, pool).to(device)
    with alone(folder):
        start = start_from(folder, settings, resume=resume)
        learned = [value for value in model.parameters() if value.requires_grad]
        run = _Run(
            centers=centers,
            source=source,
            recipe=recipe,
            folder=folder,
            seed=seed,
            model=model,
            optimiser=torch.optim.Adam(learned, lr=recipe.learning_rate),
            images=np.concatenate([np.stack([np.full_like(part, number), part], 1) for number, part in pool.items()]),
        )
        if start is not None:
            restore(start.tensors, model, {}, run.optimiser)
            run.history, run.steps_done = list(start.history), start.steps_done
            write_log(folder, run.history)
        write_plan(folder, model.config, home, split, {}, synthetic=synthetic)

        with bar("training", recipe.epochs * run.draws, quiet=quiet) as shown:
            shown.advance(len(run.history) * run.draws)
            for epoch in range(len(run.history), recipe.epochs):
                run.history.append(_epoch(run, epoch, shown))
                tensors = gather(model, {}, run.optimiser)
                write_checkpoint(folder, Checkpoint(tensors, epoch + 1, run.steps_done, tuple(run.history), settings))
                write_log(folder, run.history)

        model.eval()
        model.forest = _grow(model, home, split, recipe, seed)
        model.to("cpu").save(folder)
        return model


@dataclass(eq=False)
class _Run:
    """A training on its way; `images` holds center and position of each image of the pool, int64 [P, 2]."""

    centers: Sequence[Cells]
    source: int
    recipe: AECFERecipe
    folder: Path
    seed: int
    model: AECFE
    optimiser: torch.optim.Adam
    images: NDArray[np.int64]
    history: list[dict[str, Any]] = field(default_factory=list)
    steps_done: int = 0

    @property
    def draws(self) -> int:
        return self.recipe.draws or len(self.images)


def _pool(centers: Sequence[Cells], source: int, split: Split, recipe: AECFERecipe) -> dict[int, NDArray[np.int64]]:
    """Which images of which center the autoencoder sees."""
    if recipe.protocol == "strict":
        return {source: split.train}
    return {number: np.arange(len(cells), dtype=np.int64) for number, cells in enumerate(centers)}


def _new_model(
    centers: Sequence[Cells],
    source: int,
    split: Split,
    recipe: AECFERecipe,
    seed: int,
    pool: dict[int, NDArray[np.int64]],
) -> AECFE:
    home = centers[source]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AECFE(recipe.architecture, classes=home.classes)
    if recipe.detector is not None:
        load_detector(model.extractor, Path(recipe.detector))
    if isinstance(model.extractor, StainExtractor):
        images = [(number, place) for number, part in pool.items() for place in part[:: -(-len(part) // STANDARD)]]
        model.extractor.standardise(_images(centers[number], np.array([place])) for number, place in images)
    colors = model.config.normalisation()  # as they are
    model.config = trained_config(model.config, home, split, to_json(recipe), seed, colors)
    told = ", ".join(f"{len(part):,} of {centers[number].center}" for number, part in pool.items())
    model.config.data["seen_without_labels"] = told
    return model


def _epoch(run: _Run, epoch: int, shown: Bar) -> dict[str, Any]:
    """Train for an epoch; its record, as in ``log.jsonl``."""
    began, sums = time.perf_counter(), np.zeros(4)
    order = np.resize(np.random.default_rng([run.seed, epoch]).permutation(len(run.images)), run.draws)
    run.model.train()
    for low in range(0, run.draws, run.recipe.batch_size):
        batch = run.images[order[low : low + run.recipe.batch_size]]  # [B, 2]
        sums += np.array(_step(run, batch)) * len(batch)
        shown.advance(len(batch))
        shown.say(f"epoch {epoch + 1}/{run.recipe.epochs}  loss {sums[0] / (low + len(batch)):.3f}")
    names = ("loss", "image_loss", "feature_loss", "domain_loss")
    means = {name: float(value) for name, value in zip(names, sums / run.draws, strict=True)}
    return {"epoch": epoch + 1, **means, "images": run.draws, "seconds": time.perf_counter() - began}


def _step(run: _Run, batch: NDArray[np.int64]) -> tuple[float, float, float, float]:
    """One step of the optimiser; the loss of the batch and its three parts."""
    model, recipe = run.model, run.recipe
    images = torch.cat([_images(run.centers[number], np.array([place])) for number, place in batch.tolist()])
    features, crops = model.extractor(images.to(model.device))  # [B, 256, 14, 14], [B, 3, 128, 128]
    latents, again, pictures = model.autoencoder(features)
    image_loss = 1 - similarity_map(pictures, crops, recipe.window, padding=recipe.window // 2).mean()
    feature_loss = (again - features).square().mean()
    centers = torch.from_numpy(batch[:, 0]).to(model.device)
    apart = domain_loss(latents, centers, run.source)
    loss = image_loss + feature_loss + recipe.domain_weight * apart
    check_finite(loss, run.folder, run.history)
    run.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    run.optimiser.step()
    check_finite(torch.stack([value.detach().sum() for value in model.parameters()]), run.folder, run.history)
    run.steps_done += 1
    return loss.item(), image_loss.item(), feature_loss.item(), apart.item()


def _images(cells: Cells, indices: NDArray[np.int64]) -> Tensor:
    """Images in 0..1, [B, 3, grid, grid]."""
    return centre_images(torch.from_numpy(np.ascontiguousarray(cells.images[indices])), cells.preprocessing)


def _grow(model: AECFE, home: Cells, split: Split, recipe: AECFERecipe, seed: int) -> Forest:
    """The forest on the latents of the training part."""
    from sklearn.ensemble import RandomForestClassifier

    parts = np.array_split(split.train, range(LATENT_BATCH, len(split.train), LATENT_BATCH))
    latents = np.concatenate([model.latents(_images(home, part).to(model.device)) for part in parts])
    a = recipe.architecture
    fitted = RandomForestClassifier(n_estimators=a.trees, max_depth=a.depth, random_state=seed)
    fitted.fit(latents, home.labels[split.train])
    return Forest.from_sklearn(fitted, fitted.classes_.tolist(), len(home.classes))


def _digest(path: str | None) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path and Path(path).is_file() else ""
