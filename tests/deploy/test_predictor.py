import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import leukonca
from leukonca.data.augment import centre_images
from leukonca.data.preprocessing import Preprocessing, preprocess
from leukonca.data.varied import varied_view

from .pictures import IMAGES, Save, smooth


def torch_probabilities(folder: Path, images: list[np.ndarray], seed: int, image_um: float) -> np.ndarray:
    """The same by the training side: cache squares, centre view, torch model."""
    model = leukonca.load(folder, engine="reference")
    config = model.config
    squares = torch.from_numpy(np.stack([preprocess(image, config.preprocessing, image_um) for image in images]))
    mean, std = (torch.tensor(numbers).view(1, 3, 1, 1) for numbers in config.normalisation())
    with torch.no_grad():
        logits = model((centre_images(squares, config.preprocessing) - mean) / std, seed=seed)
    return torch.softmax(logits.double() / config.temperature, dim=1).numpy()


def test_equals_the_torch_model(save_model: Save) -> None:
    folder = save_model()
    result = leukonca.Predictor(folder)(IMAGES, seed=5)
    expected = torch_probabilities(folder, IMAGES, 5, 36.0)
    assert expected.max() - expected.min() > 0.3  # the random model does tell classes apart
    np.testing.assert_allclose(result.probabilities, expected, atol=1e-5)
    np.testing.assert_allclose(np.log(result.probabilities), np.log(expected), atol=1e-4)
    assert result.probabilities.dtype == np.float32
    assert result.labels == tuple(leukonca.CLASSES[i] for i in expected.argmax(axis=1))
    assert result.classes == leukonca.CLASSES
    assert len(result) == len(IMAGES)


@pytest.mark.parametrize("pooling", ["mean", "topk", "attention"])
def test_equals_the_torch_model_with_every_pooling(save_model: Save, pooling: str) -> None:
    folder = save_model(pooling=pooling)
    predictor = leukonca.Predictor(folder)
    together = predictor(IMAGES, seed=5).probabilities
    np.testing.assert_allclose(together, torch_probabilities(folder, IMAGES, 5, 36.0), atol=1e-5)
    np.testing.assert_array_equal(predictor(IMAGES, seed=5, batch_size=1).probabilities, together)
    # The map is stretched over a grid that is not its own.
    other = Preprocessing(grid=30, margin=2, field_um=28.0)
    folder = save_model("other", pooling=pooling, preprocessing=other)
    result = leukonca.Predictor(folder)(IMAGES, seed=5).probabilities
    np.testing.assert_allclose(result, torch_probabilities(folder, IMAGES, 5, 36.0), atol=1e-5)
    assert np.ptp(result, axis=0).max() > 0.01  # a thousand times the tolerance


def test_equals_the_torch_model_on_real_cells(save_model: Save, shared_data: Path) -> None:
    folder = save_model()
    paths = [sorted((shared_data / name).iterdir())[0] for name in ("jtsc/lymphocyte", "acevedo20-originals/monocyte")]
    images = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    result = leukonca.Predictor(folder)(images, image_um=20.0)
    np.testing.assert_allclose(result.probabilities, torch_probabilities(folder, images, 0, 20.0), atol=1e-5)


def test_runs_are_the_mean_over_consecutive_seeds(save_model: Save) -> None:
    predictor = leukonca.Predictor(save_model())
    single = [predictor(IMAGES, seed=seed).probabilities for seed in (7, 8, 9)]
    assert np.abs(single[0] - single[1]).max() > 1e-3
    mean = predictor(IMAGES, seed=7, runs=3).probabilities
    np.testing.assert_allclose(mean, np.mean(single, axis=0), atol=1e-6)


def test_varied_runs_are_those_of_the_single_views(save_model: Save) -> None:
    predictor = leukonca.Predictor(save_model())
    square = predictor.square(IMAGES[0])[None]
    views = [varied_view(square, predictor.config.preprocessing, run) for run in range(8)]
    np.testing.assert_array_equal(views[0][0], predictor.prepare(IMAGES[0]))
    single = [predictor.probabilities(view, seed=5 + run) for run, view in enumerate(views)]
    found = predictor(IMAGES[:1], seed=5, runs=8, varied=True).probabilities
    np.testing.assert_allclose(found, np.mean(single, axis=0), atol=1e-6)
    assert np.abs(found - predictor(IMAGES[:1], seed=5, runs=8).probabilities).max() > 1e-4


def test_varied_runs_have_a_temperature_of_their_own(save_model: Save) -> None:
    both = leukonca.Predictor(save_model("both", temperature=1.7, varied_temperature=0.6))
    for varied, temperature in ((False, 1.7), (True, 0.6)):
        one = leukonca.Predictor(save_model("one", temperature=temperature))
        expected = one(IMAGES, runs=3, varied=varied).probabilities
        np.testing.assert_array_equal(both(IMAGES, runs=3, varied=varied).probabilities, expected)


@pytest.mark.parametrize("runs", [1, 3])
def test_a_prior_is_bayes_rule_on_the_mean_of_the_runs(save_model: Save, runs: int) -> None:
    predictor = leukonca.Predictor(save_model(recipe={"balance": True, "loss": "cross_entropy"}))
    shares = {"monocyte": 0.7, "basophil": 0.2, "erythroblast": 0.1}
    weights = np.array([shares.get(name, 0) for name in leukonca.CLASSES])
    single = np.stack([predictor(IMAGES, seed=4 + run).probabilities * weights for run in range(runs)])
    expected = single.mean(axis=0) / single.mean(axis=0).sum(axis=1, keepdims=True)
    found = predictor(IMAGES, seed=4, runs=runs, prior=shares)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)
    assert found.probabilities[:, weights == 0].max() == 0
    plain = predictor(IMAGES, seed=4, runs=runs)
    others = [a != b for a, b in zip(plain.labels, found.labels, strict=True)]
    assert found.changed.tolist() == others
    assert any(others)
    assert not plain.changed.any()
    assert all(flag for flag, other in zip(found.flags, others, strict=True) if other)
    even = predictor(IMAGES, seed=4, runs=runs, prior=dict.fromkeys(leukonca.CLASSES, 1))
    np.testing.assert_allclose(even.probabilities, plain.probabilities, atol=1e-6)
    np.testing.assert_allclose(even.expected_entropy, plain.expected_entropy, atol=1e-5)
    assert even.flags == plain.flags
    # Each run counts by its share in the mean, so that what they disagree about is never negative.
    sums = single.sum(axis=2)  # [runs, images]
    own = -(single * np.log(np.maximum(single / sums[:, :, None], 1e-30))).sum(axis=2)
    np.testing.assert_allclose(found.expected_entropy, own.sum(axis=0) / sums.sum(axis=0) / np.log(13), atol=1e-5)
    if runs > 1:
        assert found.mutual_information.max() > 1e-4


def test_a_deterministic_predictor_equals_the_deterministic_torch_model(save_model: Save) -> None:
    folder = save_model()
    predictor = leukonca.Predictor(folder, deterministic=True)
    found = predictor(IMAGES, seed=5).probabilities
    np.testing.assert_array_equal(predictor(IMAGES, seed=6).probabilities, found)
    model = leukonca.load(folder, engine="reference")
    model.deterministic().save(folder)
    np.testing.assert_allclose(found, torch_probabilities(folder, IMAGES, 1, 36.0), atol=1e-5)
    model.save(folder)
    assert np.abs(found - torch_probabilities(folder, IMAGES, 5, 36.0)).max() > 1e-3


@pytest.mark.parametrize("varied", [False, True])
def test_an_image_has_the_same_bits_whatever_is_beside_it(save_model: Save, varied: bool) -> None:
    predictor = leukonca.Predictor(save_model())
    whole = predictor(IMAGES * 3, runs=2, varied=varied)
    for size in (1, 2, 7):
        parts = predictor(IMAGES * 3, runs=2, varied=varied, batch_size=size)
        np.testing.assert_array_equal(parts.probabilities, whole.probabilities)
        np.testing.assert_array_equal(parts.uncertainty, whole.uncertainty)
    for i, image in enumerate(IMAGES):
        np.testing.assert_array_equal(
            predictor([image], runs=2, varied=varied).probabilities[0], whole.probabilities[i]
        )


@pytest.mark.parametrize("pooling", ["max", "attention"])
def test_features_are_what_the_torch_models_head_sees(save_model: Save, pooling: str) -> None:
    folder = save_model(pooling=pooling)
    predictor, model = leukonca.Predictor(folder), leukonca.load(folder, engine="reference")
    squares = np.stack([predictor.prepare(image) for image in IMAGES])
    mean, std = (torch.tensor(numbers).view(1, 3, 1, 1) for numbers in model.config.normalisation())
    images = (torch.from_numpy(squares).permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.no_grad():
        expected = model.features(images, seed=9).numpy()
    found = predictor.features(squares, seed=9)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_array_equal(predictor.features(squares[2:3], seed=9)[0], found[2])
    assert np.abs(predictor.features(squares, seed=8) - found).max() > 1e-3


def test_a_stack_and_a_list_mean_the_same_and_none_is_fine(save_model: Save) -> None:
    predictor = leukonca.Predictor(save_model())
    stack = np.stack([smooth(50, 60, seed) for seed in range(3)])
    np.testing.assert_array_equal(predictor(stack).probabilities, predictor(list(stack)).probabilities)
    empty = predictor([])
    assert empty.probabilities.shape == (0, 13)
    assert (empty.labels, empty.flags) == ((), ())


def test_without_a_physical_field_the_whole_image_counts(save_model: Save) -> None:
    whole = Preprocessing(grid=24)
    predictor = leukonca.Predictor(save_model(preprocessing=whole, image_um=None))
    image = smooth(48, 72)
    by_pillow = np.asarray(Image.fromarray(image).resize((24, 24), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(predictor.prepare(image), by_pillow)


WITHOUT_TORCH = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "sklearn", "matplotlib"}:
            raise ModuleNotFoundError(f"no {name} here", name=name)

sys.meta_path.insert(0, Blocked())
import numpy as np
import leukonca
from leukonca.cli import main

model, cell, out = sys.argv[1:]
result = leukonca.Predictor(model)([np.full((40, 40, 3), 90, np.uint8)])
assert main(["predict", model, cell, "--out", out]) == 0
assert not {"torch", "sklearn", "matplotlib"} & sys.modules.keys()
print(result.labels[0])
"""


def test_predicts_where_torch_cannot_be_imported(save_model: Save, tmp_path: Path) -> None:
    cell = tmp_path / "cell.png"
    Image.fromarray(IMAGES[0]).save(cell)
    words = [sys.executable, "-W", "error", "-c", WITHOUT_TORCH, str(save_model()), str(cell), str(tmp_path / "o.csv")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] in leukonca.CLASSES
    assert (tmp_path / "o.csv").read_text(encoding="utf-8").count("\n") == 2
