"""A kind that only a registry line makes known goes all the way: train, resume, save, load, test, report."""

import json
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch

import leukonca
from leukonca.data.preprocessing import Preprocessing
from leukonca.data.splits import split_cells
from leukonca.data.synthetic import synthetic_cells
from leukonca.errors import ModelError, UsageError
from leukonca.models import registry
from leukonca.models.classifier import Classifier
from leukonca.models.config import ModelConfig, read_config
from leukonca.models.presets import PRESETS
from leukonca.models.registry import KINDS, Kind, build, kind_of
from leukonca.report.training import train_and_test
from leukonca.training.recipe import Recipe

from .color_model import ColorArchitecture, ColorClassifier

RECIPE = Recipe(architecture=ColorArchitecture(), epochs=2, batch_size=16, learning_rate=0.03, average=0.5)


@pytest.fixture
def colors_known(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = Kind(ColorArchitecture, f"{ColorClassifier.__module__}:ColorClassifier")
    monkeypatch.setattr(registry, "KINDS", MappingProxyType({**KINDS, "color": kind}))


@pytest.mark.usefixtures("colors_known")
def test_another_kind_is_trained_tested_saved_and_loaded(tmp_path: Path) -> None:
    cells, _ = synthetic_cells("synthetic_cream", 6, 0, Preprocessing(grid=16), quiet=True)
    split = split_cells(cells, fold=0)
    evaluation = train_and_test(cells, split, RECIPE, tmp_path / "run", command="none", quiet=True)
    with pytest.raises(UsageError, match="other settings"):
        train_and_test(cells, split, replace(RECIPE, decay=0.5), tmp_path / "run", command="x", resume=True, quiet=True)

    facts = json.loads((tmp_path / "run" / "config.json").read_text())
    assert facts["kind"] == facts["recipe"]["kind"] == "color"
    assert facts["architecture"] == {"grid": 16}
    assert "A linear model of the mean color that names" in (tmp_path / "run" / "MODEL_CARD.md").read_text()

    model = leukonca.load(tmp_path / "run")
    assert isinstance(model, ColorClassifier)
    assert not model.training
    assert int(model.norm.num_batches_tracked) > 0
    seen = cells.images[split.test].astype(np.float64).mean(axis=(1, 2)) / 255
    mean, std = model.config.normalisation()
    inner, w = (seen - mean) / std, {name: array.astype(np.float64) for name, array in model.weights().items()}
    inner = (inner - w["norm.running_mean"]) / np.sqrt(w["norm.running_var"] + 1e-5)
    logits = (inner * w["norm.weight"] + w["norm.bias"]) @ w["head.weight"].T + w["head.bias"]
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(evaluation.probabilities, powers / powers.sum(axis=1, keepdims=True), atol=1e-5)

    with pytest.raises(ModelError, match=r"mean color, and without torch only an automaton predicts; .*evaluate"):
        leukonca.Predictor(tmp_path / "run")


def test_kinds_and_presets_belong_together() -> None:
    assert {kind_of(architecture) for architecture in PRESETS.values()} <= KINDS.keys()
    for kind in KINDS.values():
        assert issubclass(kind.classifier(), Classifier)
        assert kind.architecture.title
        assert kind.architecture().facts()
    with pytest.raises(UsageError, match="ColorArchitecture: no architecture of nca"):
        build(ColorArchitecture())


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
