"""What a step of training minimises, and how fast."""

import math

from torch import Tensor
from torch.nn import functional

from leukonca.training.recipe import Recipe

FOCAL_GAMMA = 2
"""As in aNCA (arXiv 2508.12324)."""


def loss_of(logits: Tensor, labels: Tensor, recipe: Recipe, taught: Tensor | None = None) -> Tensor:
    """The loss that the recipe names, mean over a batch.

    Args:
        logits: [B, classes].
        labels: int64 [B].
        recipe: its `loss`, `label_smoothing` and, with a teacher, `teacher_share` count.
        taught: a teacher's probabilities, [B, classes]; None: labels alone count.

    Source: focal loss, Lin et al. 2017 (arXiv 1708.02002), eq. 4: -(1 - p)^gamma log p of the true class.
    """
    if taught is not None:
        assert recipe.teacher_share is not None
        followed, share = functional.cross_entropy(logits, taught), recipe.teacher_share
        return share * followed + (1 - share) * loss_of(logits, labels, recipe)
    if recipe.loss == "binary_cross_entropy":
        return functional.binary_cross_entropy_with_logits(
            logits, functional.one_hot(labels, logits.shape[1]).to(logits)
        )
    if recipe.loss == "focal":
        log_p = -functional.cross_entropy(logits, labels, reduction="none")  # [B]
        return -((1 - log_p.exp()) ** FOCAL_GAMMA * log_p).mean()
    return functional.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)


def learning_rate(recipe: Recipe, step: int, steps_in_all: int) -> float:
    """The rate at a step, counted from 0."""
    rise = min(1.0, (step + 1) / recipe.warmup) if recipe.warmup else 1.0
    if recipe.schedule == "exponential":
        return recipe.learning_rate * rise * recipe.decay**step
    done = min(1.0, max(0, step - recipe.warmup) / max(1, steps_in_all - recipe.warmup))
    return recipe.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * done))
