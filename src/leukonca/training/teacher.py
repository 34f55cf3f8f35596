"""Trained models that another one learns from: their probabilities of every view, beside its label (distillation).

Source: Hinton et al. 2015 (arXiv 1503.02531); teacher and student see the same views: Beyer et al. 2022
(arXiv 2106.05237).
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leukonca.data.colors import Color
from leukonca.errors import UsageError
from leukonca.models.config import ModelConfig
from leukonca.models.registry import kind_of
from leukonca.training.pretrained import TOLD, Pretrained
from leukonca.training.recipe import Recipe

SHARE = 0.6
"""Of the loss, what the command line takes where a recipe says nothing."""


class Teachers:
    """Trained models, each as wise as the others: what they say is the mean of their probabilities.

    Args:
        trained: the models; none: there is nobody to learn from.
        device: where they work.
    """

    def __init__(self, trained: Sequence[Pretrained] = (), device: str = "cpu") -> None:
        self.trained = tuple(trained)
        for each in self.trained:
            each.model.to(device).eval().requires_grad_(False)

    def __bool__(self) -> bool:
        return bool(self.trained)

    @property
    def fingerprints(self) -> list[Any]:
        """What changes with anything that they say."""
        return [[each.fingerprint, each.model.config.temperature] for each in self.trained]

    def facts(self) -> list[dict[str, Any]]:
        """What a student's config tells of each."""
        return [
            {
                "model": each.name,
                "kind": kind_of(each.model.config.architecture),
                "parameters": sum(value.numel() for value in each.model.parameters()),
                "weights": each.trainings[0].weights,
            }
            for each in self.trained
        ]

    @torch.no_grad()
    def probabilities(self, images: Tensor, seeds: NDArray[np.uint32], colors: tuple[Color, Color]) -> Tensor:
        """What they say of views, at the temperature of each, float32 [B, classes].

        Args:
            images: normalised, float32 [B, 3, H, W].
            seeds: of the fire masks, uint32 [B].
            colors: mean and standard deviation that the images were normalised with.
        """
        said = []
        for each in self.trained:
            config = each.model.config
            logits = each.model(_renormalised(images, colors, config.normalisation()), seed=seeds)
            said.append((logits / config.temperature).softmax(dim=1))
        return torch.stack(said).mean(dim=0)


def check_teach(teachers: Teachers, recipe: Recipe, student: ModelConfig, seed: int) -> None:
    """Raise unless the teachers can teach this training, and have seen nothing that it must not see.

    A teacher has to come from the same split of the same images. One that had seen the student's test or validation
    images would tell of them, and one of other images would bring along what nobody could keep out of a test.

    Args:
        teachers: maybe none.
        recipe: of the student.
        student: its config, from `leukonca.training.traces.trained_config`.
        seed: of the student's run, which its split follows from.

    Raises:
        UsageError: a recipe that needs a teacher and has none, or the reverse; a teacher of other classes, other views
            or other images.
    """
    if not teachers:
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
    for each in teachers.trained:
        _check_one(each, student, seed)


def _check_one(teacher: Pretrained, student: ModelConfig, seed: int) -> None:
    config, name = teacher.model.config, f"--teacher {teacher.name}"
    if not teacher.model.normalises:
        raise UsageError(f"{name}: of kind {kind_of(config.architecture)}, which does not see normalised views")
    if config.classes != student.classes:
        raise UsageError(
            f"{name}: answers with the classes {', '.join(config.classes)}, and the student with "
            f"{', '.join(student.classes)}; train both with the same --map"
        )
    wanted = asdict(student.preprocessing)
    other = [
        f"{fact} {value} (and not {wanted[fact]})"
        for fact, value in asdict(config.preprocessing).items()
        if value != wanted[fact]
    ]
    if other:
        raise UsageError(f"{name}: was trained on other views, with {', '.join(other)}; train it with the same")
    for training in teacher.trainings:
        theirs = {fact: training.data[fact] for fact in TOLD if fact in training.data and fact != "synthetic"}
        own = {fact: student.data[fact] for fact in TOLD if fact in student.data and fact != "synthetic"}
        if theirs != own or training.seed != seed:
            raise UsageError(
                f"{name}: {training.words} was trained on other images, or with another split of them; train the "
                "teacher with the same --data, --fold, --folds and --seed, so that it has seen nothing of the test"
            )


def _renormalised(images: Tensor, come: tuple[Color, Color], go: tuple[Color, Color]) -> Tensor:
    """Images that were normalised with some colors as if they had been with others."""
    if come == go:
        return images
    (mean, std), (new_mean, new_std) = (
        (images.new_tensor(part)[:, None, None] for part in each) for each in (come, go)
    )
    return (images * std + mean - new_mean) / new_std
