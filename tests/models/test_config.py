"""config.json: what it means, and that no content whatever ends in anything but a clear refusal."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leukonca.data.preprocessing import Preprocessing
from leukonca.errors import ModelError
from leukonca.models.config import ModelConfig, read_config, to_json
from leukonca.models.presets import Architecture

FULL = ModelConfig(
    architecture=Architecture(channels=8, hidden=4, steps=3, grid=16),
    classes=("a", "b"),
    preprocessing=Preprocessing(grid=16, margin=3, field_um=27.5),
    image_um=36.0,
    mean=(0.1, 0.2, 0.3),
    std=(0.4, 0.5, 0.6),
    temperature=1.5,
    thresholds={"uncertain": 0.75, "unusual": 12.5},
    calibration={"images": 40},
    trained_classes=("a",),
    recipe={"epochs": 3, "seed": 4},
    data={"center": "acevedo20"},
    metrics={"accuracy": {"value": 0.5, "low": 0.4, "high": 0.6}},
    version="0.1.0",
)
WRITTEN: dict[str, Any] = {**json.loads(json.dumps(to_json(FULL))), "weights_sha256": "ab" * 32}

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def put(folder: Path, text: str | bytes) -> Path:
    (folder / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def test_read_back_as_written(tmp_path: Path) -> None:
    assert read_config(put(tmp_path, json.dumps(WRITTEN))) == (FULL, "ab" * 32)


def test_a_field_that_a_later_version_adds_is_passed_over(tmp_path: Path) -> None:
    assert read_config(put(tmp_path, json.dumps({**WRITTEN, "favourite": 1})))[0] == FULL


def test_a_folder_of_before_thresholds_has_none(tmp_path: Path) -> None:
    older = {name: value for name, value in WRITTEN.items() if name not in ("thresholds", "calibration")}
    config = read_config(put(tmp_path, json.dumps(older)))[0]
    assert (config.thresholds, config.calibration) == ({}, {})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, "format 2; this leukonca reads format 1: update it"),
        ({"classes": []}, "classes"),
        ({"classes": ["a", "a"]}, "distinct"),
        ({"classes": ["a", 3]}, "names"),
        ({"temperature": 0}, "temperature 0"),
        ({"temperature": None}, "damaged"),
        ({"image_um": -1}, "image_um -1"),
        ({"mean": [0.1, 0.2]}, "mean .*three numbers"),
        ({"mean": [0.1, 0.2, float("nan")]}, "mean .*three numbers"),
        ({"std": [0.1, 0.2, 0]}, "std .*positive"),
        ({"std": "abc"}, "damaged"),
        ({"metrics": [1]}, "metrics is a list"),
        ({"thresholds": [0.5]}, "thresholds is a list"),
        ({"thresholds": {"uncertain": "0.5"}}, "threshold uncertain is '0.5'"),
        ({"thresholds": {"uncertain": True}}, "threshold uncertain is True"),
        ({"thresholds": {"unusual": float("nan")}}, "threshold unusual is nan"),
        ({"thresholds": {"unusual": 10**400}}, "damaged"),
        ({"calibration": 1}, "calibration is a int"),
        ({"architecture": {"channels": 2}}, "channels is 2"),
        ({"architecture": {"color": 2}}, "color"),
        ({"architecture": None}, "damaged"),
        ({"preprocessing": {"grid": 0}}, "grid >= 2"),
        ({"temperature": 10**400}, "damaged"),
    ],
)
def test_values_that_cannot_be_meant(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        read_config(put(tmp_path, json.dumps({**WRITTEN, **change})))
    assert str(tmp_path / "config.json") in str(caught.value)


@pytest.mark.parametrize("name", ["format", "weights_sha256", "architecture", "preprocessing"])
def test_what_must_be_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match=rf"config\.json: damaged .*{name}"):
        read_config(put(tmp_path, json.dumps({key: value for key, value in WRITTEN.items() if key != name})))


@QUICK
@given(content=st.binary(max_size=60) | st.text(max_size=30).map(str.encode) | st.just(b"[]"))
def test_arbitrary_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        read_config(put(tmp_path, content))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@QUICK
@given(data=st.data())
def test_any_value_in_any_place_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    facts: Any = copy.deepcopy(WRITTEN)
    place = facts
    key = data.draw(st.sampled_from(sorted(place)))
    while isinstance(place[key], dict) and place[key] and data.draw(st.booleans()):
        place = place[key]
        key = data.draw(st.sampled_from(sorted(place)))
    place[key] = data.draw(JSON)
    refused = ""
    try:
        config, _ = read_config(put(tmp_path, json.dumps(facts)))
    except ModelError as error:
        refused = str(error)
    assert "config.json" in refused or isinstance(config, ModelConfig)


def test_no_statistics_no_normalisation() -> None:
    assert FULL.normalisation() == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    with pytest.raises(ModelError, match="no color statistics"):
        ModelConfig(architecture=Architecture()).normalisation()
