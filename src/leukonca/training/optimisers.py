"""What moves the weights: Adam, or Muon for the matrices within the network and Adam for the rest."""

import torch
from torch import nn

from leukonca.training.recipe import Recipe

PEAK = "initial_lr"
"""Where an optimiser's group keeps the highest rate that it will have."""


def optimisers(model: nn.Module, recipe: Recipe) -> tuple[torch.optim.Optimizer, ...]:
    """Adam over all parameters; with the recipe's `muon_rate` Adam over the others, and Muon over `hidden_matrices`.

    Muon makes every step as large in all directions of a matrix, where Adam looks at each weight alone.

    Source: Kingma and Ba 2015 (arXiv 1412.6980); Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/; its
    steps scaled to those of Adam as Liu et al. 2025 (arXiv 2502.16982) do it.
    """
    matrices = hidden_matrices(model) if recipe.muon_rate is not None else []
    chosen = {id(value) for value in matrices}
    rest = [value for value in model.parameters() if id(value) not in chosen]
    found: list[torch.optim.Optimizer] = [torch.optim.Adam(rest, lr=recipe.learning_rate, betas=(0.9, 0.999))]
    if recipe.muon_rate is not None:
        found.append(torch.optim.Muon(matrices, lr=recipe.muon_rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"))
    for optimiser in found:
        for group in optimiser.param_groups:
            group[PEAK] = group["lr"]
    return tuple(found)


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """The weight matrices among the parameters but the last, which makes the logits."""
    named = model.named_parameters()
    return [value for name, value in named if name.endswith("weight") and value.dim() == 2][:-1]


def set_rate(optimiser: torch.optim.Optimizer, rate: float, peak: float) -> None:
    """Set the learning rate of every group to the share `rate / peak` of its own peak."""
    for group in optimiser.param_groups:
        group["lr"] = rate * (group[PEAK] / peak)
