import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file

import leukonca
from leukonca.data.augment import centre_images
from leukonca.data.preprocessing import Preprocessing, preprocess
from leukonca.deploy.predictor import Answers
from leukonca.errors import ModelError, UsageError
from leukonca.models.unusual import UnusualScore

Save = Callable[..., Path]
RNG = np.random.default_rng(11)
SIZES = [(64, 64), (40, 90), (128, 128), (9, 8), (1, 1), (363, 360)]


def smooth(height: int, width: int) -> np.ndarray:
    coarse = Image.fromarray(RNG.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


IMAGES = [smooth(*size) for size in SIZES]


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


def test_turned_runs_are_those_of_turned_images(save_model: Save) -> None:
    predictor = leukonca.Predictor(save_model())
    square = predictor.prepare(IMAGES[0])
    ways = [np.rot90(each, quarter) for each in (square, square[:, ::-1]) for quarter in range(4)]
    single = [predictor.probabilities(way[None].copy(), seed=5 + run) for run, way in enumerate(ways)]
    turned = predictor(IMAGES[:1], seed=5, runs=8, turned=True).probabilities
    np.testing.assert_allclose(turned, np.mean(single, axis=0), atol=1e-6)
    assert np.abs(turned - predictor(IMAGES[:1], seed=5, runs=8).probabilities).max() > 1e-4


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


def test_an_image_has_the_same_bits_whatever_is_beside_it(save_model: Save) -> None:
    predictor = leukonca.Predictor(save_model())
    whole = predictor(IMAGES * 3, runs=2)
    for size in (1, 2, 7):
        parts = predictor(IMAGES * 3, runs=2, batch_size=size)
        np.testing.assert_array_equal(parts.probabilities, whole.probabilities)
        np.testing.assert_array_equal(parts.uncertainty, whole.uncertainty)
    for i, image in enumerate(IMAGES):
        np.testing.assert_array_equal(predictor([image], runs=2).probabilities[0], whole.probabilities[i])


def told(rows: np.ndarray) -> Answers:
    """Of one run."""
    return Answers(rows, scipy.stats.entropy(rows.astype(float), axis=1), np.full(len(rows), np.nan, np.float32))


def test_uncertainty_falls_apart_into_the_runs_own_and_what_they_disagree_about(save_model: Save) -> None:
    predictor = leukonca.Predictor(save_model())
    runs = [predictor(IMAGES, seed=seed) for seed in (3, 4, 5)]
    together = predictor(IMAGES, seed=3, runs=3)
    for run in runs:
        assert (run.mutual_information == 0).all()
        np.testing.assert_array_equal(run.expected_entropy, run.uncertainty)
    own = np.mean([scipy.stats.entropy(run.probabilities, base=13, axis=1) for run in runs], axis=0)
    np.testing.assert_allclose(together.expected_entropy, own, atol=1e-6)
    np.testing.assert_allclose(together.uncertainty, together.expected_entropy + together.mutual_information, atol=1e-6)
    assert together.mutual_information.min() > 0


def test_a_deterministic_run_flags_nothing_unusual(save_model: Save) -> None:
    folder = save_model()
    model = leukonca.load(folder)
    model.unusual = odd_score()
    model.config = replace(model.config, thresholds={"unusual": 0.0})  # every cell is above
    model.save(folder)
    assert leukonca.Predictor(folder)(IMAGES).flags == ("unusual",) * len(IMAGES)
    found = leukonca.Predictor(folder, deterministic=True)(IMAGES)
    assert "unusual" not in found.flags
    assert np.isnan(found.unusual).all()
    assert "unusual" not in model.deterministic().config.thresholds


def test_uncertainty_and_flags(save_model: Save) -> None:
    predictor = leukonca.Predictor(save_model())
    rows = RNG.dirichlet(np.full(13, 0.2), size=200).astype(np.float32)
    rows[0] = np.eye(13)[4]
    rows[1] = 1 / 13
    rows[2, :3], rows[2, 3:] = (0.5, 0.25, 0.25), 0
    result = predictor.judge(told(rows))
    expected = scipy.stats.entropy(rows.astype(float), base=13, axis=1)
    np.testing.assert_allclose(result.uncertainty, expected, atol=1e-6)
    assert result.uncertainty[0] == 0
    assert result.uncertainty[1] == pytest.approx(1)
    assert result.flags == tuple("uncertain" if max(row) < 0.5 else "" for row in rows.tolist())
    assert result.flags[:3] == ("", "uncertain", "")


def test_a_models_own_threshold_decides_what_is_uncertain(save_model: Save) -> None:
    rows = RNG.dirichlet(np.full(13, 0.1), size=200).astype(np.float32)
    predictor = leukonca.Predictor(save_model(thresholds={"uncertain": 0.8}))
    flags = predictor.judge(told(rows)).flags
    assert flags == tuple("uncertain" if max(row) < 0.8 else "" for row in rows.tolist())
    assert set(flags) == {"", "uncertain"}


def odd_score(channels: int = 16) -> UnusualScore:
    """Of the tiny model: how far compressed features are from a point."""
    return UnusualScore(
        spread=np.ones(channels, np.float32),
        whitening=np.eye(channels, dtype=np.float32),
        centers=np.full((1, channels), 0.2, np.float32),
        usual=np.zeros(1, np.float32),
    )


def test_what_is_unlike_the_training_cells_is_flagged_and_before_uncertain(save_model: Save) -> None:
    folder = save_model(thresholds={"uncertain": 1.0})
    model = leukonca.load(folder)
    model.unusual = odd_score()
    model.save(folder)
    result = leukonca.Predictor(folder)(IMAGES, runs=3, seed=2)
    predictor = leukonca.Predictor(folder)
    squares = np.stack([predictor.prepare(image) for image in IMAGES])
    seen = [np.arcsinh(predictor.features(squares, seed=seed)) for seed in (2, 3, 4)]
    expected = np.mean([np.linalg.norm(rows - 0.2, axis=1) for rows in seen], axis=0)
    np.testing.assert_allclose(result.unusual, expected, rtol=1e-5)
    assert set(result.flags) == {"uncertain"}  # without a threshold nothing is unusual
    limit = float(np.sort(result.unusual)[2])
    model.config = replace(model.config, thresholds={"uncertain": 1.0, "unusual": limit})
    model.save(folder)
    again = leukonca.Predictor(folder)(IMAGES, runs=3, seed=2)
    assert again.flags == tuple("unusual" if value > limit else "uncertain" for value in result.unusual.tolist())
    assert again.flags.count("unusual") == len(IMAGES) - 3


def test_a_model_that_holds_no_score_says_so_by_nan(save_model: Save) -> None:
    result = leukonca.Predictor(save_model(thresholds={"unusual": 0.0}))(IMAGES[:2])
    assert np.isnan(result.unusual).all()
    assert "unusual" not in result.flags


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
    stack = np.stack([smooth(50, 60) for _ in range(3)])
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


@pytest.mark.parametrize(
    ("images", "fact"),
    [
        (IMAGES[0], r"one array of shape \(64, 64, 3\)"),
        ([IMAGES[0], IMAGES[0] / 255.0], "number 1 is a float64 array"),
        ([IMAGES[0][..., 0]], r"number 0 has shape \(64, 64\)"),
        ([np.dstack([IMAGES[0], IMAGES[0][..., :1]])], r"shape \(64, 64, 4\)"),
        ([np.zeros((0, 4, 3), np.uint8)], r"shape \(0, 4, 3\)"),
        (["cell.png"], "number 0 is a str"),
        (3, "a int"),
    ],
)
def test_wrong_images_are_named(save_model: Save, images: Any, fact: str) -> None:
    with pytest.raises(UsageError, match=fact):
        leukonca.Predictor(save_model())(images)


@pytest.mark.parametrize(
    "setting",
    [
        {"runs": 0},
        {"runs": 1.5},
        {"runs": True},
        {"turned": True},
        {"batch_size": 0},
        {"seed": -1},
        {"seed": 2**32},
        {"seed": 2**32 - 1, "runs": 2},
        {"image_um": 0.0},
        {"image_um": float("nan")},
    ],
)
def test_settings_out_of_range_are_refused(save_model: Save, setting: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        leukonca.Predictor(save_model())(IMAGES[:1], **setting)


def test_an_overflowing_automaton_is_an_error_not_a_diagnosis(save_model: Save) -> None:
    with pytest.raises(ModelError, match="image 0: the automaton's values overflow"):
        leukonca.Predictor(save_model(strength=1e9))(IMAGES)


def test_an_untrained_model_is_refused(save_model: Save) -> None:
    with pytest.raises(ModelError, match="color statistics"):
        leukonca.Predictor(save_model(mean=None, std=None))


def test_an_attention_map_of_another_size_is_refused(save_model: Save) -> None:
    folder = save_model(pooling="attention")
    rewrite(folder, {**load_file(folder / "model.safetensors"), "attention": np.zeros((24, 23), np.float32)})
    with pytest.raises(ModelError, match=r"attention has shape \(24, 23\).*needs \(24, 24\)"):
        leukonca.Predictor(folder)


@pytest.mark.parametrize("change", ["drop", "add", "reshape", "nan"])
def test_weights_of_something_else_are_refused(save_model: Save, change: str) -> None:
    folder = save_model()
    weights = load_file(folder / "model.safetensors")
    if change == "drop":
        del weights["head.2.bias"]
    elif change == "add":
        weights["extra"] = np.zeros(3, np.float32)
    elif change == "reshape":
        weights["head.0.weight"] = weights["head.0.weight"].T.copy()
    else:
        weights["head.2.bias"][0] = np.nan
    rewrite(folder, weights)
    with pytest.raises(ModelError, match=r"head|extra"):
        leukonca.Predictor(folder)


def rewrite(folder: Path, weights: dict[str, np.ndarray]) -> None:
    save_file(weights, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["weights_sha256"] = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))


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
