"""Cells that hold several pixels, against torch's own rearrangement and against a model of single pixels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import leukonca
from leukonca.data.preprocessing import Preprocessing
from leukonca.errors import UsageError
from leukonca.models.cost import multiply_adds
from leukonca.models.patches import from_patches, to_patches
from leukonca.models.presets import Architecture
from leukonca.training.recipe import Recipe


@given(batch=st.integers(1, 3), height=st.integers(1, 5), width=st.integers(1, 5), patch=st.integers(1, 4))
def test_patches_are_those_of_torch_and_come_back(batch: int, height: int, width: int, patch: int) -> None:
    images = np.random.default_rng(0).normal(size=(batch, 3, height * patch, width * patch)).astype(np.float32)
    cells = to_patches(images, patch)
    known = torch.nn.functional.pixel_unshuffle(torch.from_numpy(images), patch)
    np.testing.assert_array_equal(cells, known.numpy())
    for image, values in zip(images, cells, strict=True):
        np.testing.assert_array_equal(from_patches(values.transpose(1, 2, 0), patch), image.transpose(1, 2, 0))


def trained(patch: int, **changes: int) -> leukonca.NCAClassifier:
    """With random weights, and colors as if it were trained."""
    torch.manual_seed(5)
    model = leukonca.NCAClassifier(preset="tiny", patch=patch, **changes).eval()
    torch.nn.init.normal_(model.update_weight, std=0.1)
    field = Preprocessing(grid=model.architecture.grid, field_um=28.0)
    known = {"mean": (0.7, 0.6, 0.65), "std": (0.2, 0.25, 0.15), "image_um": 36.0}
    model.config = replace(model.config, preprocessing=field, **known)
    return model


def test_a_saved_model_predicts_without_torch_as_with_it(tmp_path: Path) -> None:
    model = trained(2)
    model.save(tmp_path / "model")
    image = np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    predictor = leukonca.Predictor(tmp_path / "model")
    square = predictor.prepare(image)
    mean, std = (torch.tensor(color)[:, None, None] for color in model.config.normalisation())
    views = (torch.from_numpy(square.copy()).permute(2, 0, 1) / 255 - mean) / std
    with torch.no_grad():
        known = leukonca.load(tmp_path / "model")(views[None], seed=3).softmax(1)[0]
    np.testing.assert_allclose(predictor([image], seed=3).probabilities[0], known.numpy(), atol=1e-5)
    assert leukonca.load(tmp_path / "model").architecture == model.architecture


def test_the_state_keeps_the_pixels_and_the_grid_is_smaller() -> None:
    model, images = trained(2), torch.randn(2, 3, 12, 8)
    state = model.rollout(images, seed=1)
    assert state.shape == (2, 16, 6, 4)
    torch.testing.assert_close(state[:, :12], torch.nn.functional.pixel_unshuffle(images, 2), rtol=0, atol=0)
    assert (state[:, 12:].abs().amax(dim=(0, 2, 3)) > 0).all()


@pytest.mark.parametrize(("height", "width", "cells"), [(2, 2, (2, 2)), (9, 12, (5, 6)), (13, 3, (7, 2))])
def test_any_size_works_the_last_pixels_repeated(height: int, width: int, cells: tuple[int, int]) -> None:
    model, images = trained(2), torch.randn(1, 3, height, width)
    rows, columns = (np.minimum(np.arange(2 * n), side - 1) for n, side in zip(cells, (height, width), strict=True))
    state = model.rollout(images, seed=1)
    assert state.shape[-2:] == cells
    torch.testing.assert_close(state, model.rollout(images[:, :, rows][:, :, :, columns], seed=1), rtol=0, atol=0)
    assert model(images).shape == (1, 13)


def test_gradients_reach_the_pixels_and_attention_has_the_size_of_the_grid() -> None:
    torch.manual_seed(6)
    model = leukonca.NCAClassifier(preset="tiny", patch=2, pooling="attention")
    torch.nn.init.normal_(model.update_weight, std=0.1)
    assert model.attention.shape == (12, 12)
    images = torch.randn(1, 3, 24, 24, requires_grad=True)
    model(images, seed=0).sum().backward()
    assert images.grad is not None
    assert (images.grad.abs().sum(dim=1) > 0).float().mean() > 0.2


def test_a_patch_divides_the_grid_and_leaves_channels() -> None:
    with pytest.raises(UsageError, match="multiple of patch, 3"):
        Architecture(channels=64, grid=32, patch=3)
    with pytest.raises(
        UsageError, match="channels is 48: 48 hold the 4 x 4 pixels of a cell; give at least 49, or a smaller patch"
    ):
        Architecture(channels=48, grid=32, patch=4)
    with pytest.raises(UsageError, match="grid is 2: must be a whole number of at least 4"):
        Architecture(channels=48, grid=2, patch=2)
    with pytest.raises(UsageError, match="patch is 0"):
        Architecture(patch=0)
    with pytest.raises(UsageError, match="small_grid 30: must be a multiple of patch, 4"):
        Recipe(architecture=Architecture(patch=4), small_grid=30, small_grid_epochs=1)
    with pytest.raises(UsageError, match="small_grid is 4: must be a whole number, at least 8"):
        Recipe(architecture=Architecture(patch=4), small_grid=4)
    assert Recipe(architecture=Architecture(patch=4), small_grid=30).grid_of(0) == 64


def test_a_patch_divides_the_cost_by_its_pixels() -> None:
    def cost(patch: int) -> float:
        a = Architecture(channels=60, hidden=50, steps=10, grid=32, patch=patch)
        return multiply_adds(a) - a.channels * a.hidden - a.hidden * 13

    assert cost(4) == pytest.approx(cost(1) / 16)
    assert Architecture().facts()["grid"] == "64 x 64"
    assert Architecture(channels=60, patch=4).facts()["grid"] == "16 x 16 cells of 4 x 4 pixels"
