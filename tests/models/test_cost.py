"""Multiply-adds: by hand for small models, and against the filters that torch really runs."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import leukonca
from leukonca.errors import UsageError
from leukonca.models.aecfe_architecture import AECFEArchitecture
from leukonca.models.building import build
from leukonca.models.cost import multiply_adds
from leukonca.models.presets import Architecture, ResNeXtArchitecture, preset


def test_an_automaton_by_hand() -> None:
    """4 channels, 5 hidden, 2 steps on 3 x 3: a cell takes 2 x 9 x 4 for its views, 12 x 5 and 5 x 4 for its change."""
    a = Architecture(channels=4, hidden=5, steps=2, fire_rate=1.0, grid=3)
    assert multiply_adds(a, classes=2) == 2 * 9 * (72 + 60 + 20) + 4 * 5 + 5 * 2


def test_half_the_cells_cost_half() -> None:
    a = Architecture(fire_rate=0.5)
    head = 128 * 128 + 128 * 13
    assert multiply_adds(a) - head == (multiply_adds(replace(a, fire_rate=1.0)) - head) / 2
    every = multiply_adds(replace(a, fire_rate=1.0))
    assert every == pytest.approx(17.8e9, rel=0.01)  # what the authors' code computes


def test_the_expected_number_is_what_the_masks_give_on_average() -> None:
    a = preset("compact")
    assert isinstance(a, Architecture)
    fired = sum(int(leukonca.fire_mask(9, step, a.cells, a.cells, a.fire_rate).sum()) for step in range(a.steps))
    cell = 18 * a.channels + 4 * a.channels * a.hidden
    assert multiply_adds(a) == pytest.approx(fired * cell, rel=0.02)


@pytest.mark.parametrize(
    "a",
    [
        ResNeXtArchitecture(grid=48, blocks=(2, 2, 2, 2), width=32, groups=16, group_width=8),
        ResNeXtArchitecture(grid=33, blocks=(1, 3, 1, 2), width=16, groups=4, group_width=16),
    ],
)
def test_a_resnext_is_what_torch_runs(a: ResNeXtArchitecture) -> None:
    counted = 0

    def count(part: nn.Module, _: Any, found: torch.Tensor) -> None:
        nonlocal counted
        if isinstance(part, nn.Conv2d):
            counted += found[0].numel() * part.weight[0].numel()
        elif isinstance(part, nn.Linear):
            counted += part.weight.numel()

    model = build(a).eval()
    for part in model.modules():
        part.register_forward_hook(count)
    with torch.no_grad():
        model(torch.zeros(1, 3, a.grid, a.grid))
    assert multiply_adds(a) == counted


def test_the_published_count_of_resnext_50() -> None:
    """Xie et al. 2017, table 1: 4.2e9 for ResNeXt-50 32x4d at 224 x 224 with 1000 classes."""
    assert multiply_adds(ResNeXtArchitecture(grid=224), classes=1000) == pytest.approx(4.2e9, rel=0.02)


def test_other_kinds_are_refused() -> None:
    with pytest.raises(UsageError, match="not counted"):
        multiply_adds(AECFEArchitecture())
