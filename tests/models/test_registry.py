"""Kinds of models: what is listed can be built, and a folder gives the kind that it holds."""

import json
from importlib import import_module
from pathlib import Path

import pytest
import torch

import leukonca
from leukonca.data.preprocessing import Preprocessing
from leukonca.errors import ModelError, UsageError
from leukonca.models.architecture import AnyArchitecture
from leukonca.models.building import build
from leukonca.models.classifier import Classifier
from leukonca.models.config import ModelConfig, read_config
from leukonca.models.presets import PRESETS
from leukonca.models.registry import KINDS, kind_of


class Unlisted(AnyArchitecture):
    """Of no kind that is known."""

    title = "Unlisted"


def test_kinds_and_presets_belong_together() -> None:
    assert {kind_of(architecture) for architecture in PRESETS.values()} <= KINDS.keys()
    for kind in KINDS.values():
        module, _, name = kind.place.partition(":")
        assert issubclass(getattr(import_module(module), name), Classifier)
        assert kind.architecture.title
        assert kind.architecture().facts()
    with pytest.raises(UsageError, match="Unlisted: no architecture of nca"):
        build(Unlisted())


@pytest.mark.parametrize("name", [name for name in PRESETS if PRESETS[name].grid <= 48])
def test_a_built_model_has_the_contract(name: str) -> None:
    model = build(PRESETS[name], classes=("a", "b", "c")).eval()
    assert model.config == ModelConfig(PRESETS[name], ("a", "b", "c"), Preprocessing(grid=PRESETS[name].grid))
    assert model.device == torch.device("cpu")
    grid = PRESETS[name].grid
    with torch.no_grad():
        assert model(torch.zeros(2, 3, grid, grid), seed=3).shape == (2, 3)
    with pytest.raises(UsageError, match="engine 'abacus'"):
        build(PRESETS[name], engine="abacus")


def test_an_older_folder_names_no_kind_and_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    leukonca.NCAClassifier(preset="tiny").save(tmp_path)
    facts = json.loads((tmp_path / "config.json").read_text())
    assert facts.pop("kind") == "nca"
    (tmp_path / "config.json").write_text(json.dumps(facts))
    assert isinstance(leukonca.load(tmp_path), leukonca.NCAClassifier)
    (tmp_path / "config.json").write_text(json.dumps({**facts, "kind": "abacus"}))
    with pytest.raises(ModelError, match=r"config\.json: damaged \(kind 'abacus': this leukonca knows nca"):
        read_config(tmp_path)
