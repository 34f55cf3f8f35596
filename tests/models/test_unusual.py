"""The score of unusual cells: the distance it claims to be, and the file that it lies in."""

import hashlib
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import mahalanobis

import leukonca
from leukonca.errors import ModelError
from leukonca.models.folder import read_unusual
from leukonca.models.unusual import ROWS, UnusualScore

RNG = np.random.default_rng(5)
SPREAD = RNG.uniform(0.5, 3, 128)


def some_score(channels: int = 16, classes: int = 3) -> tuple[UnusualScore, np.ndarray, np.ndarray]:
    """A score, its covariance and its class means."""
    mixing = RNG.normal(size=(channels, channels)) + 3 * np.eye(channels)
    covariance, means = mixing @ mixing.T, 4 * RNG.normal(size=(classes, channels))
    whitening = np.linalg.inv(np.linalg.cholesky(covariance))
    arrays = (SPREAD[:channels], whitening, means @ whitening.T, np.sort(RNG.uniform(1, 9, 2000)))
    return UnusualScore(*(array.astype(np.float32) for array in arrays)), covariance, means


ANY = some_score()[0]


def test_is_the_mahalanobis_distance_to_the_nearest_class() -> None:
    score, covariance, means = some_score()
    features = (5 * RNG.normal(size=(40, 16))).astype(np.float32)
    inverse = np.linalg.inv(covariance)
    expected = []
    for row in features.astype(np.float64):
        compressed = np.sign(row) * np.log(np.abs(row / SPREAD[:16]) + np.sqrt((row / SPREAD[:16]) ** 2 + 1))
        expected.append(min(mahalanobis(compressed, mean, inverse) for mean in means))
    np.testing.assert_allclose(score.of(features), expected, rtol=1e-4)


def test_a_score_does_not_depend_on_the_rows_beside_it() -> None:
    score, _, _ = some_score(channels=48)
    features = RNG.normal(size=(2 * ROWS + 3, 48)).astype(np.float32)
    together = score.of(features)
    for i in (0, 1, ROWS - 1, ROWS, 2 * ROWS + 2):
        assert score.of(features[i : i + 1])[0] == together[i]
    assert score.of(features[:0]).shape == (0,)


@settings(deadline=None)
@given(hnp.arrays(np.float32, (4, 16), elements=st.floats(width=32)))
def test_any_features_have_a_score(features: np.ndarray) -> None:
    scores = ANY.of(features)
    assert ((scores >= 0) & ~np.isnan(scores)).all()
    assert np.isinf(scores[~np.isfinite(features).all(axis=1)]).all()


@pytest.mark.parametrize("shape", [(3, 15), (16,), (2, 3, 16)])
def test_features_of_another_model_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="fitted to"):
        some_score()[0].of(np.zeros(shape, np.float32))


def saved(folder: Path, score: UnusualScore | None) -> Path:
    torch.manual_seed(1)
    model = leukonca.NCAClassifier(preset="tiny")
    model.config = replace(model.config, thresholds={"unusual": 12.5})
    model.unusual = score
    model.save(folder)
    return folder


def test_saved_and_loaded_with_the_same_bits(tmp_path: Path) -> None:
    score, _, _ = some_score()
    folder = saved(tmp_path / "model", score)
    on_disk = safetensors.numpy.load_file(folder / "unusual.safetensors")
    assert {name: array.tobytes() for name, array in on_disk.items()} == {
        "spread": score.spread.tobytes(),
        "whitening": score.whitening.tobytes(),
        "centers": score.centers.tobytes(),
        "usual": score.usual.tobytes(),
    }
    digest = hashlib.sha256((folder / "unusual.safetensors").read_bytes()).hexdigest()
    assert json.loads((folder / "config.json").read_text())["unusual_sha256"] == digest
    model = leukonca.load(folder)
    model.save(tmp_path / "copy")
    for each in (model.unusual, read_unusual(tmp_path / "copy")):
        assert each is not None
        assert all(np.array_equal(array, score.arrays()[name]) for name, array in each.arrays().items())


def test_a_model_of_128_channels_keeps_it_in_less_than_100_kilobytes(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = leukonca.NCAClassifier(preset="paper")
    model.unusual = some_score(channels=128, classes=13)[0]
    model.save(tmp_path)
    assert (tmp_path / "unusual.safetensors").stat().st_size < 100_000


def test_a_model_without_it_is_loaded_and_takes_no_leftover_for_its_own(tmp_path: Path) -> None:
    folder = saved(saved(tmp_path, some_score()[0]), None)
    assert "unusual_sha256" not in json.loads((folder / "config.json").read_text())
    assert read_unusual(folder) is None
    assert leukonca.load(folder).unusual is None


def put(folder: Path, content: bytes) -> None:
    (folder / "unusual.safetensors").write_bytes(content)
    facts = json.loads((folder / "config.json").read_text())
    facts["unusual_sha256"] = hashlib.sha256(content).hexdigest()
    (folder / "config.json").write_text(json.dumps(facts))


def arrays(**changed: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        kept = {**some_score()[0].arrays(), **changed}
        put(folder, safetensors.numpy.save({name: array for name, array in kept.items() if array is not None}))

    return damage


class Bomb:
    def __reduce__(self) -> Any:
        return pytest.fail, ("unpickled",)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "unusual.safetensors").unlink(), "missing; copy"),
        (lambda folder: (folder / "unusual.safetensors").write_bytes(b"x"), "not the arrays that config"),
        (lambda folder: put(folder, b""), "damaged"),
        (lambda folder: put(folder, pickle.dumps(Bomb())), "damaged"),
        (arrays(centers=None), "missing or unknown: centers"),
        (arrays(more=np.zeros((2, 2), np.float32)), "missing or unknown: more"),
        (arrays(centers=np.zeros((3, 15), np.float32)), "do not fit each other"),
        (arrays(centers=np.zeros(16, np.float32)), "do not fit each other"),
        (arrays(centers=np.zeros((0, 16), np.float32)), "do not fit each other"),
        (arrays(whitening=np.zeros((3, 16), np.float32)), "do not fit each other"),
        (arrays(spread=np.ones((16, 1), np.float32)), "do not fit each other"),
        (arrays(spread=np.zeros(16, np.float32)), "a spread is not positive"),
        (arrays(usual=np.array([2, 1], np.float32)), "rising scores"),
        (arrays(usual=np.ones((2, 1), np.float32)), "rising scores"),
        (arrays(whitening=np.eye(16)), "whitening is float64"),
        (arrays(whitening=np.full((16, 16), np.nan, np.float32)), "not finite"),
        (
            arrays(
                spread=np.ones(8, np.float32),
                whitening=np.eye(8, dtype=np.float32),
                centers=np.ones((3, 8), np.float32),
            ),
            "fitted to 8 channels; the model is",
        ),
    ],
)
def test_damage_is_noticed_and_the_file_is_named(tmp_path: Path, damage: Callable[[Path], None], words: str) -> None:
    folder = saved(tmp_path, some_score()[0])
    damage(folder)
    with pytest.raises(ModelError, match=words) as caught:
        leukonca.load(folder)
    assert str(folder / "unusual.safetensors") in str(caught.value)
