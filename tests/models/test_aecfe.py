"""AE-CFE: its size, its normalisation, its built-in extractor, and a forest that lives without scikit-learn."""

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier

import leukonca
from leukonca.data.preprocessing import Preprocessing
from leukonca.data.synthetic import SYNTHETIC_CENTERS, synthetic_cells
from leukonca.errors import ModelError, UsageError
from leukonca.models.aecfe import AECFE, RunNorm
from leukonca.models.aecfe_architecture import AECFEArchitecture
from leukonca.models.extractors import MaskRCNNExtractor, StainExtractor
from leukonca.models.forest import Forest

NARROW = AECFEArchitecture(
    grid=32,
    encoder=(8, 6, 10, 10, 40),
    latent=5,
    decoder=(6, 8),
    image_decoder=(8, 6, 4, 4),
    trees=7,
    depth=4,
)


def test_it_has_exactly_3969141_parameters_without_the_extractor() -> None:
    with torch.device("meta"):
        model = AECFE()
    kernels = {(256, 200): 9, (200, 150): 9, (150, 100): 9, (100, 70): 4, (70, 60): 4, (60, 50): 1}
    encoder = sum(a * b * k + b for (a, b), k in kernels.items()) + 2 * (200 + 150 + 100 + 70 + 60)
    upwards = {(50, 150): 25, (150, 200): 16, (200, 256): 9}
    decoder = sum(a * b * k + b for (a, b), k in upwards.items())
    pictures = {(256, 200): 25, (200, 180): 9, (180, 150): 9, (150, 128): 4, (128, 3): 1}
    image_decoder = sum(a * b * k + b for (a, b), k in pictures.items())
    parts = {
        name: sum(value.numel() for value in part.parameters()) for name, part in model.autoencoder.named_children()
    }
    assert parts == {"encoder": encoder, "decoder": decoder, "image_decoder": image_decoder}
    assert sum(parts.values()) == 3_969_141
    assert model.config.architecture.facts()["extractor"] == "stain"


def test_sides_from_layer_to_layer() -> None:
    model = AECFE(NARROW)
    sides = []
    for layer in [*model.autoencoder.encoder, *model.autoencoder.decoder, *model.autoencoder.image_decoder]:
        if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            layer.register_forward_hook(lambda *call: sides.append(call[2].shape[-1]))
    with torch.no_grad():
        features, crops = model.extractor(torch.rand(3, 3, 32, 32))
        latents, again, pictures = model.autoencoder(features)
    assert sides == [12, 5, 3, 2, 1, 1, 5, 12, 14, 31, 63, 127, 128, 128]
    assert latents.shape == (3, 5)
    assert again.shape == features.shape == (3, 256, 14, 14)
    assert pictures.shape == crops.shape == (3, 3, 128, 128)
    assert float(features.abs().max()) <= 1
    assert float(latents.abs().max()) <= 1
    assert 0 <= float(pictures.min()) <= float(pictures.max()) <= 1


def test_runs_are_normalised_across_the_borders_of_channels() -> None:
    draw = np.random.default_rng(0)
    state = draw.normal(size=(2, 200, 12, 12), loc=3, scale=2)
    norm = RunNorm(200, 32).double()
    scale, shift = draw.normal(size=(200, 1, 1)), draw.normal(size=(200, 1, 1))
    norm.scale.data, norm.shift.data = torch.from_numpy(scale), torch.from_numpy(shift)
    expected = np.empty_like(state)
    for image, out in zip(state, expected, strict=True):
        flat = image.ravel().copy()
        for first in range(0, 28_800, 900):  # 6.25 channels
            run = flat[first : first + 900]
            flat[first : first + 900] = (run - run.mean()) / np.sqrt(run.var(ddof=1) + 1e-5)
        out[:] = flat.reshape(200, 12, 12) * scale + shift
    np.testing.assert_allclose(norm(torch.from_numpy(state)).detach().numpy(), expected, atol=1e-9)


def test_groups_that_do_not_divide_are_refused() -> None:
    with pytest.raises(UsageError, match="20 groups do not divide 61 channels"):
        AECFEArchitecture(encoder=(200, 150, 100, 70, 61))
    with pytest.raises(UsageError, match="encoder is"):
        AECFEArchitecture(encoder=(200, 150, 100, 70))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="extractor 'sam'"):
        AECFEArchitecture(extractor="sam")  # type: ignore[arg-type]


@pytest.mark.parametrize("center", SYNTHETIC_CENTERS)
def test_the_built_in_extractor_finds_the_cell_by_its_stain(center: str) -> None:
    cells, masks = synthetic_cells(center, 2, 0, Preprocessing(grid=64), quiet=True)
    extractor = StainExtractor(NARROW)
    images = torch.from_numpy(cells.images.copy()).permute(0, 3, 1, 2).float() / 255
    # The same cells off the centre.
    for images_now, masks_now in ((images, masks), (images.roll((6, -5), (2, 3)), np.roll(masks, (6, -5), (1, 2)))):
        centre, half = (value.numpy() for value in extractor.locate(images_now))
        rows, columns = np.mgrid[:64, :64]
        inside, apart = [], []
        for mask, (x, y), reach in zip(masks_now, centre, half, strict=True):
            column, row, side = (x + 1) * 32 - 0.5, (y + 1) * 32 - 0.5, reach * 32
            box = (abs(rows - row) <= side) & (abs(columns - column) <= side)
            inside.append(box[mask > 0].mean())
            nucleus = np.argwhere(mask == 255).mean(axis=0)
            apart.append(np.hypot(*(nucleus - (row, column))) / side)
        assert np.median(inside) > 0.95  # of the cell's pixels are in the crop
        assert np.median(apart) < 0.2


def test_a_crop_shows_the_square_that_was_located() -> None:
    image = torch.ones(1, 3, 64, 64)
    image[:, :, 20:30, 30:40] = 0.1
    extractor = StainExtractor(NARROW)
    centre, half = extractor.locate(image)
    np.testing.assert_allclose(centre.numpy(), [[35 / 32 - 1, 25 / 32 - 1]], atol=0.02)
    crop = extractor.crop(image)[0, 0].numpy()
    dark = np.argwhere(crop < 0.5)
    row, column = centre[0].numpy()[::-1]
    for found, edges in ((dark.min(axis=0) - 0.5, (20, 30)), (dark.max(axis=0) + 0.5, (30, 40))):
        expected = [
            ((edge / 32 - 1) - middle) / float(half) * 64 + 63.5
            for edge, middle in zip(edges, (row, column), strict=True)
        ]
        np.testing.assert_allclose(found, expected, atol=1.0)
    blank = extractor.crop(torch.full((1, 3, 16, 16), 0.8))
    assert torch.allclose(blank, torch.tensor(0.8))


def test_features_tell_cells_apart_and_are_not_learned() -> None:
    draw = torch.Generator().manual_seed(4)
    images = 0.7 + 0.02 * torch.rand(30, 3, 64, 64, generator=draw)  # nearly the same
    extractor = StainExtractor(NARROW)
    extractor.standardise(images.split(7))
    features, _ = extractor(images)
    said = 2 * torch.atanh(features.double())  # in standard deviations
    assert said.mean(dim=0).abs().max() < 1e-3
    np.testing.assert_allclose(said.std(dim=0, correction=0), 1, atol=1e-2)
    assert not any(value.requires_grad for value in extractor.parameters())


def test_without_torchvision_its_extractor_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def none_here(name: str, *arguments: Any, **settings: Any) -> Any:
        if name.startswith("torchvision"):
            raise ModuleNotFoundError("No module named 'torchvision'", name="torchvision")
        return real(name, *arguments, **settings)

    monkeypatch.setattr(builtins, "__import__", none_here)
    with pytest.raises(UsageError, match=r"needs torchvision.*use extractor stain"):
        MaskRCNNExtractor(NARROW)


def grown(classes: int = 4, samples: int = 300, depth: int = 6) -> tuple[Any, np.ndarray]:
    draw = np.random.default_rng(5)
    x = draw.normal(size=(samples, 5)).astype(np.float32)
    labels = (
        (x[:, 0] > 0).astype(int) + 2 * (x[:, 1] * x[:, 2] > 0) if classes == 4 else draw.integers(0, classes, samples)
    )
    fitted = RandomForestClassifier(n_estimators=9, max_depth=depth, random_state=0).fit(x, labels)
    return fitted, x


def test_the_forest_predicts_as_scikit_learns() -> None:
    fitted, x = grown()
    forest = Forest.from_sklearn(fitted, [1, 3, 4, 6], 7)
    new = np.random.default_rng(6).normal(size=(500, 5)).astype(np.float32)
    on_thresholds = np.array([tree.tree_.threshold[0] for tree in fitted.estimators_], np.float64)
    edges = np.repeat(on_thresholds.astype(np.float32)[:, None], 5, axis=1)  # samples that lie on a node's threshold
    for samples in (x, new, edges):
        told = forest.probabilities(samples, depth=6)
        np.testing.assert_allclose(told[:, [1, 3, 4, 6]], fitted.predict_proba(samples), atol=1e-6)
        assert not told[:, [0, 2, 5]].any()
    np.testing.assert_array_equal(forest.probabilities(new[3:4], 6), forest.probabilities(new, 6)[3:4])
    again = Forest.from_arrays(forest.arrays(), features=5, classes=7)
    np.testing.assert_array_equal(again.probabilities(new, 6), forest.probabilities(new, 6))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("roots", 1e6, "roots holds"),
        ("left", -1, "left holds"),
        ("right", 0.5, "right holds"),
        ("feature", 5, "not of 5 features"),
        ("feature", np.nan, "feature holds"),
        ("threshold", None, "missing or unknown threshold"),
        ("value", "cut", "do not belong together"),
    ],
)
def test_a_damaged_forest_is_refused(name: str, value: Any, words: str) -> None:
    arrays = {key: array.copy() for key, array in Forest.from_sklearn(grown()[0], [0, 1, 2, 3], 4).arrays().items()}
    if value is None:
        del arrays[name]
    elif value == "cut":
        arrays[name] = arrays[name][:-1]
    else:
        arrays[name][0] = value
    with pytest.raises(ModelError, match=words):
        Forest.from_arrays(arrays, features=5, classes=4)


def test_saved_and_loaded_it_predicts_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = AECFE(NARROW, classes=("a", "b", "c")).eval()
    squares = np.random.default_rng(1).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    with pytest.raises(ModelError, match="no forest yet"):
        model.probabilities(squares)
    latents = model.latents(torch.from_numpy(squares).permute(0, 3, 1, 2).float() / 255)
    labels = np.random.default_rng(2).integers(0, 2, 40) * 2
    fitted = RandomForestClassifier(n_estimators=7, max_depth=4, random_state=0).fit(latents, labels)
    model.forest = Forest.from_sklearn(fitted, [0, 2], 3)
    told = model.probabilities(squares)
    assert told.dtype == np.float32
    np.testing.assert_allclose(told[:, [0, 2]], fitted.predict_proba(latents), atol=1e-6)
    model.save(tmp_path / "model")
    loaded = leukonca.load(tmp_path / "model")
    assert isinstance(loaded, AECFE)
    np.testing.assert_array_equal(loaded.probabilities(squares), told)
    with torch.no_grad():
        odds = loaded(torch.from_numpy(squares[:5]).permute(0, 3, 1, 2).float() / 255)
    np.testing.assert_allclose(odds.softmax(dim=1).numpy(), told[:5], atol=1e-5)
    with pytest.raises(UsageError, match="train_aecfe"):
        model.train()(torch.rand(1, 3, 32, 32))
    assert {path.name for path in (tmp_path / "model").iterdir()} == {
        "model.safetensors",
        "config.json",
        "MODEL_CARD.md",
    }
