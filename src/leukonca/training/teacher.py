"""Trained models that another one learns from: their probabilities of every view, beside its label (distillation).

Source: Hinton et al. 2015 (arXiv 1503.02531); teacher and student see the same views: Beyer et al. 2022
(arXiv 2106.05237).
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from leukonca.data.cells import Cells
from leukonca.data.colors import Color
from leukonca.data.splits import Split, split_digest
from leukonca.errors import UsageError
from leukonca.models.folder import weights_digest
from leukonca.models.registry import kind_of
from leukonca.training.pretrained import Pretrained
from leukonca.training.recipe import Recipe

SHARE = 0.6
"""Of the loss, where nobody says another one; that of the first trial (docs/experiments.md, row ak)."""


class Teachers:
    """Trained models that have the same say: what they teach is the mean of their probabilities.

    Args:
        trained: the models, which are copied; none: there is nobody to learn from. See `check_teachers`.
        device: where they work.
    """

    def __init__(self, trained: Sequence[Pretrained] = (), device: str = "cpu") -> None:
        self.names = tuple(each.name for each in trained)
        self.models = tuple(deepcopy(each.model).to(device).eval().requires_grad_(False) for each in trained)

    def __bool__(self) -> bool:
        return bool(self.models)

    def facts(self) -> list[dict[str, Any]]:
        """What a student's config tells of each."""
        return [
            {
                "model": name,
                "kind": kind_of(model.config.architecture),
                "parameters": sum(value.numel() for value in model.parameters()),
                "weights_sha256": weights_digest(model.weights()),
            }
            for name, model in zip(self.names, self.models, strict=True)
        ]

    @torch.no_grad()
    def probabilities(self, images: Tensor, seeds: NDArray[np.uint32], colors: tuple[Color, Color]) -> Tensor:
        """What they say of views, at the temperature of each, float32 [B, classes].

        Args:
            images: normalised, float32 [B, 3, grid, grid]; a teacher of another grid sees them resized.
            seeds: of the fire masks, uint32 [B].
            colors: mean and standard deviation that the images were normalised with.
        """
        said = []
        for model in self.models:
            seen = _resized(
                _renormalised(images, colors, model.config.normalisation()), model.config.preprocessing.grid
            )
            logits = model(seen, seed=seeds)
            said.append((logits / model.config.temperature).softmax(dim=1))
        return torch.stack(said).mean(dim=0)


def taught_by(trained: Sequence[Pretrained]) -> list[Any]:
    """For the fingerprint of a student's run: what changes with anything that its teachers say."""
    return [[each.fingerprint, _said_with(each)] for each in trained]


def with_share(recipe: Recipe, *, taught: bool) -> Recipe:
    """The recipe; if there are teachers and it says nothing of them, with their usual share."""
    return replace(recipe, teacher_share=SHARE) if taught and recipe.teacher_share is None else recipe


def check_share(recipe: Recipe, *, taught: bool) -> None:
    """Raise a `UsageError` for a recipe that needs a teacher and has none, or that none can teach."""
    if not taught:
        if recipe.teacher_share is not None:
            raise UsageError(
                f"teacher_share is {recipe.teacher_share:g}, and there is no teacher; name one (--teacher MODEL), or "
                "leave it out (--teacher-share None)"
            )
        return
    if recipe.teacher_share is None:
        raise UsageError(f"there is a teacher, and teacher_share is none; set it, for example to {SHARE:g}")
    if recipe.loss == "binary_cross_entropy":
        raise UsageError(
            "loss is binary_cross_entropy, which has no probabilities over classes that a teacher could teach; "
            "use cross_entropy or focal"
        )


def check_teachers(cells: Cells, split: Split, teachers: Sequence[Pretrained]) -> None:
    """Raise unless the teachers know these views and classes, and have seen nothing that this training must not see.

    They may know the views in another number of pixels.

    A teacher has to come from this very split. One that had learned from the student's test or validation images would
    tell of them, and one of other images would bring along what nobody could keep out of a test.

    Args:
        cells: of the student's center, loaded with its preprocessing.
        split: of these cells.
        teachers: maybe none.

    Raises:
        UsageError: a teacher of other classes, other views, other images or another split of them, or one that began
            as a model of other images.
    """
    for each in teachers:
        config, name = each.model.config, f"--teacher {each.name}"
        if not each.model.normalises:
            raise UsageError(f"{name}: of kind {kind_of(config.architecture)}, which does not see normalised views")
        if config.learned_elsewhere:
            began = next(each.get("model") for each in config.pretrained if not each.get("same_images"))
            raise UsageError(
                f"{name}: began as {began}, whose images it tells of; take one that began at random, or as a model of "
                "the same images"
            )
        if config.classes != cells.classes:
            raise UsageError(
                f"{name}: answers with the classes {', '.join(config.classes)}, and the student with "
                f"{', '.join(cells.classes)}; train both with the same --map"
            )
        wanted = {**asdict(cells.preprocessing), "image_um": cells.image_um}
        given = {**asdict(config.preprocessing.in_pixels_of(cells.preprocessing)), "image_um": config.image_um}
        other = [f"{fact} {value} (and not {wanted[fact]})" for fact, value in given.items() if value != wanted[fact]]
        if other:
            raise UsageError(f"{name}: was trained on other views, with {', '.join(other)}; train it with the same")
        if config.data.get("split_sha256") != split_digest(split, cells):
            raise UsageError(
                f"{name}: was trained on other images, or on another split of them; train the teacher with the same "
                "--data, --fold, --folds and --seed, so that it has seen nothing of the test"
            )


def _said_with(teacher: Pretrained) -> list[Any]:
    """What its answers depend on beside weights and colors."""
    config = teacher.model.config
    return [config.temperature, dict(vars(config.architecture))]


def _renormalised(images: Tensor, come: tuple[Color, Color], go: tuple[Color, Color]) -> Tensor:
    """Images that were normalised with some colors as if they had been with others."""
    if come == go:
        return images
    (mean, std), (new_mean, new_std) = (
        (images.new_tensor(part)[:, None, None] for part in each) for each in (come, go)
    )
    return (images * std + mean - new_mean) / new_std


def _resized(images: Tensor, grid: int) -> Tensor:
    """Images [B, 3, H, H] with a side of `grid` pixels, smoothed first where that is smaller."""
    if images.shape[-1] == grid:
        return images
    return functional.interpolate(images, (grid, grid), mode="bilinear", antialias=True)
