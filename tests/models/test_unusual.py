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
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

import leukonca
from leukonca.errors import ModelError
from leukonca.evaluation.unusual import PER_CLASS
from leukonca.models.building import load_without_score
from leukonca.models.folder import read_unusual
from leukonca.models.unusual import LARGEST, UnusualScore

RNG = np.random.default_rng(5)


def some_score(channels: int = 16, known: int = 40) -> UnusualScore:
    """A score of training cells by chance."""
    cells = RNG.integers(-LARGEST, LARGEST + 1, (known, channels), dtype=np.int8)
    unit = RNG.uniform(0.001, 0.01, channels).astype(np.float32)
    return UnusualScore(cells, unit, np.sort(RNG.uniform(0, 1, 2000)).astype(np.float32))


ANY = some_score()


def test_is_the_distance_to_the_fifth_neighbor_as_scikit_learn_finds_it() -> None:
    score = some_score()
    features = (10.0 ** RNG.integers(-3, 4, (50, 1)) * RNG.normal(size=(50, 16))).astype(np.float32)
    known = NearestNeighbors(n_neighbors=5).fit(score.cells * score.unit.astype(np.float64))
    expected = known.kneighbors(normalize(features.astype(np.float64)))[0][:, 4]
    np.testing.assert_allclose(score.of(features), expected, rtol=1e-9)


def test_only_the_direction_counts() -> None:
    features = RNG.normal(size=(6, 16)).astype(np.float32)
    np.testing.assert_array_equal(ANY.of(features), ANY.of(8 * features))
    assert (ANY.of(-features) != ANY.of(features)).all()
    nothing = np.zeros((1, 16), np.float32)
    lengths = np.linalg.norm(ANY.cells * ANY.unit, axis=1)
    assert ANY.of(nothing)[0] == pytest.approx(np.sort(lengths)[4])


def test_a_score_does_not_depend_on_the_rows_beside_it() -> None:
    score = some_score(channels=48)
    features = RNG.normal(size=(77, 48)).astype(np.float32)
    together = score.of(features)
    for i in (0, 1, 40, 76):
        assert score.of(features[i : i + 1])[0] == together[i]
    assert score.of(features[:0]).shape == (0,)


@settings(deadline=None)
@given(hnp.arrays(np.float32, (4, 16), elements=st.floats(width=32)))
def test_any_features_have_a_score(features: np.ndarray) -> None:
    scores = ANY.of(features)
    assert ((scores >= 0) & ~np.isnan(scores)).all()
    np.testing.assert_array_equal(np.isinf(scores), ~np.isfinite(features).all(axis=1))


@pytest.mark.parametrize("shape", [(3, 15), (16,), (2, 3, 16)])
def test_features_of_another_model_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="fitted to"):
        some_score().of(np.zeros(shape, np.float32))


def saved(folder: Path, score: UnusualScore | None) -> Path:
    torch.manual_seed(1)
    model = leukonca.NCAClassifier(preset="tiny")
    model.config = replace(model.config, thresholds={"unusual": 12.5})
    model.unusual = score
    model.save(folder)
    return folder


def test_saved_and_loaded_with_the_same_bits(tmp_path: Path) -> None:
    score = some_score()
    folder = saved(tmp_path / "model", score)
    on_disk = safetensors.numpy.load_file(folder / "unusual.safetensors")
    assert {name: array.tobytes() for name, array in on_disk.items()} == {
        "cells": score.cells.tobytes(),
        "unit": score.unit.tobytes(),
        "usual": score.usual.tobytes(),
    }
    digest = hashlib.sha256((folder / "unusual.safetensors").read_bytes()).hexdigest()
    assert json.loads((folder / "config.json").read_text())["unusual_sha256"] == digest
    model = leukonca.load(folder)
    model.save(tmp_path / "copy")
    for each in (model.unusual, read_unusual(tmp_path / "copy")):
        assert each is not None
        assert all(np.array_equal(array, score.arrays()[name]) for name, array in each.arrays().items())


def test_a_model_of_128_channels_keeps_it_in_less_than_200_kilobytes(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = leukonca.NCAClassifier(preset="paper")
    model.unusual = some_score(channels=128, known=13 * PER_CLASS)
    model.save(tmp_path)
    assert (tmp_path / "unusual.safetensors").stat().st_size < 200_000


def test_a_model_without_it_is_loaded_and_takes_no_leftover_for_its_own(tmp_path: Path) -> None:
    folder = saved(saved(tmp_path, some_score()), None)
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
        kept = {**some_score().arrays(), **changed}
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
        (arrays(cells=None), "missing or unknown: cells"),
        (arrays(more=np.zeros((2, 2), np.float32)), "missing or unknown: more"),
        (arrays(cells=np.zeros((9, 15), np.int8)), "do not fit each other"),
        (arrays(cells=np.zeros(16, np.int8)), "do not fit each other"),
        (arrays(cells=np.zeros((4, 16), np.int8)), "4 training cells; needs 5"),
        (arrays(unit=np.ones((16, 1), np.float32)), "do not fit each other"),
        (arrays(unit=np.zeros(16, np.float32)), "a unit is not positive"),
        (arrays(usual=np.array([2, 1], np.float32)), "rising scores"),
        (arrays(usual=np.ones((2, 1), np.float32)), "rising scores"),
        (arrays(cells=np.zeros((9, 16), np.float32)), "cells is float32; needs int8"),
        (arrays(cells=np.zeros((9, 16), np.int16)), "cells is int16; needs float32 or int8"),
        (arrays(unit=np.ones(16)), "unit is float64; needs float32 or int8"),
        (arrays(unit=np.full(16, np.nan, np.float32)), "unit holds values that are not finite"),
        (arrays(cells=np.ones((9, 8), np.int8), unit=np.ones(8, np.float32)), "fitted to 8 channels; the model is"),
    ],
)
def test_damage_is_noticed_and_the_file_is_named(tmp_path: Path, damage: Callable[[Path], None], words: str) -> None:
    folder = saved(tmp_path, some_score())
    damage(folder)
    with pytest.raises(ModelError, match=words) as caught:
        leukonca.load(folder)
    assert str(folder / "unusual.safetensors") in str(caught.value)


def test_that_of_an_earlier_version_says_what_makes_it_anew(tmp_path: Path) -> None:
    folder = saved(tmp_path, some_score())
    parts = {"spread": (16,), "whitening": (16, 16), "centers": (3, 16), "usual": (5,)}
    put(folder, safetensors.numpy.save({name: np.ones(shape, np.float32) for name, shape in parts.items()}))
    with pytest.raises(ModelError, match="leukonca calibrate"):
        leukonca.load(folder)
    assert load_without_score(folder).unusual is None
