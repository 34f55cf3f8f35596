"""What a predictor refuses."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import leukonca
from leukonca.errors import ModelError, UsageError

from .pictures import IMAGES, Save


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
        {"varied": True},
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


def test_a_square_is_no_view_and_a_view_no_square(save_model: Save) -> None:
    predictor = leukonca.Predictor(save_model())
    square, view = predictor.square(IMAGES[0])[None], predictor.prepare(IMAGES[0])[None]
    for method, wrong, fact in (
        (predictor.answers, view, r"uint8 \[1, 24, 24, 3\]: expected uint8 \[B, 34, 34, 3\], .* `square`"),
        (predictor.features, square, r"uint8 \[1, 34, 34, 3\]: expected uint8 \[B, 24, 24, 3\], .* `prepare`"),
        (predictor.probabilities, square, "`prepare`"),
        (predictor.features, view / 255, "float64"),
    ):
        with pytest.raises(UsageError, match=fact):
            method(wrong)


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
