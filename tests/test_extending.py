"""What docs/extending.md shows is true: its examples are put where it says, and then work."""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path, PurePosixPath
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import leukonca
from leukonca.data import centers
from leukonca.data.cells import load_cells
from leukonca.data.preprocessing import Preprocessing
from leukonca.data.splits import split_cells
from leukonca.data.synthetic import synthetic_cells
from leukonca.errors import ModelError, UsageError
from leukonca.models import pooling, registry
from leukonca.report.training import train_and_test
from leukonca.training.recipe import Recipe

REPOSITORY = Path(__file__).parents[1]
PAGE = (REPOSITORY / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"```python\n# (\S+\.py(?:, in \w+)?)\n(.*?)```", PAGE, flags=re.DOTALL))


def test_every_place_that_the_page_names_is_there() -> None:
    assert len(BLOCKS) == PAGE.count("```python") == 6
    named = set(re.findall(r"`((?:\w+/)+\w+\.(?:py|md|toml))`", PAGE))
    made_up = {name for name in named if "NAME" in name or "VERB" in name}
    assert len(named) > 10
    for name in named - made_up:
        assert (REPOSITORY / name).exists() or (REPOSITORY / "src" / "leukonca" / name).exists(), name
    lists = {"data/centers.py": "CENTERS", "models/registry.py": "KINDS", "models/pooling.py": "POOLINGS"}
    lists |= {"models/presets.py": "PRESETS", "training/recipe.py": "RECIPES", "models/extractors.py": "EXTRACTORS"}
    for place, name in {**lists, "automaton/engines.py": "ENGINES", "cli/__init__.py": "VERBS"}.items():
        assert f"`{name}`" in PAGE
        assert re.search(rf"^{name}\b", (REPOSITORY / "src" / "leukonca" / place).read_text("utf-8"), re.MULTILINE), (
            place
        )


def module(name: str, code: str) -> ModuleType:
    made = ModuleType(name)
    sys.modules[name] = made
    exec(compile(code, name, "exec"), made.__dict__)
    return made


@pytest.fixture
def color(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The model of the page, known by the page's line."""
    names = ("leukonca.models.color_architecture", "leukonca.models.color")
    made = [module(name, BLOCKS[f"src/{name.replace('.', '/')}.py"]) for name in names]
    line = BLOCKS["src/leukonca/models/registry.py, in KINDS"]
    known = eval("{" + line + "}", {"Kind": registry.Kind, **made[0].__dict__})
    monkeypatch.setattr(registry, "KINDS", MappingProxyType({**registry.KINDS, **known}))
    yield made[1]
    for name in names:
        del sys.modules[name]


def test_the_model_is_trained_tested_saved_and_loaded(color: ModuleType, tmp_path: Path) -> None:
    recipe = Recipe(architecture=color.ColorArchitecture(), epochs=2, batch_size=16, learning_rate=0.03, average=0.5)
    cells, _ = synthetic_cells("synthetic_cream", 6, 0, Preprocessing(grid=16), quiet=True)
    split = split_cells(cells, fold=0)

    def run(settings: Recipe, **more: Any) -> Any:
        return train_and_test(cells, split, settings, tmp_path / "run", command="none", quiet=True, **more)

    evaluation = run(recipe)
    with pytest.raises(UsageError, match="other settings"):
        run(replace(recipe, decay=0.5), resume=True)

    facts = json.loads((tmp_path / "run" / "config.json").read_text())
    assert facts["kind"] == facts["recipe"]["kind"] == "color"
    assert facts["architecture"] == {"grid": 16}
    assert "A linear model of the mean color that names" in (tmp_path / "run" / "MODEL_CARD.md").read_text()

    model = leukonca.load(tmp_path / "run")
    assert isinstance(model, color.ColorClassifier)
    assert not model.training
    assert int(model.norm.num_batches_tracked) > 0
    seen = cells.images[split.test].astype(np.float64).mean(axis=(1, 2)) / 255
    mean, std = model.config.normalisation()
    inner, w = (seen - mean) / std, {name: array.astype(np.float64) for name, array in model.weights().items()}
    inner = (inner - w["norm.running_mean"]) / np.sqrt(w["norm.running_var"] + 1e-5)
    logits = (inner * w["norm.weight"] + w["norm.bias"]) @ w["head.weight"].T + w["head.bias"]
    assert model.config.temperature != 1  # fitted on the validation part
    logits /= model.config.temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(evaluation.probabilities, powers / powers.sum(axis=1, keepdims=True), atol=1e-5)

    with pytest.raises(ModelError, match=r"a linear model of the mean color, and without torch only an automaton"):
        leukonca.Predictor(tmp_path / "run")


def test_the_pooling_is_trained_with_and_predicts_without_torch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = dict(pooling.__dict__)
    exec(BLOCKS["src/leukonca/models/pooling.py"], place)
    known = eval("{" + BLOCKS["src/leukonca/models/pooling.py, in POOLINGS"] + "}", place)
    every = MappingProxyType({**pooling.POOLINGS, **known})
    for name in (
        "leukonca.models.nca",
        "leukonca.models.presets",
        "leukonca.deploy.checks",
        "leukonca.deploy.predictor",
    ):
        monkeypatch.setattr(import_module(name), "POOLINGS", every)

    torch.manual_seed(0)
    model = leukonca.NCAClassifier("tiny", pooling="middle")
    torch.nn.init.normal_(model.update_weight, std=0.2)
    model.config = replace(model.config, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    squares = np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3), dtype=np.uint8)
    x = torch.from_numpy((squares.transpose(0, 3, 1, 2) / 255 - 0.5) / 0.2).float()
    with torch.no_grad():
        state, logits = model.rollout(x, seed=1).double().numpy(), model(x, seed=1)
    features = np.sqrt(abs(state).max(axis=(2, 3)) * abs(state).mean(axis=(2, 3)))
    np.testing.assert_allclose(model.features(x, seed=1).detach().numpy(), features, rtol=1e-5)
    model.save(tmp_path)
    told = leukonca.Predictor(tmp_path).probabilities(squares, seed=1)
    np.testing.assert_allclose(told, logits.softmax(dim=1).numpy(), atol=1e-5)


def test_the_center_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place: dict[str, Any] = {"PurePosixPath": PurePosixPath, **centers.__dict__}
    exec(BLOCKS["src/leukonca/data/centers.py"], place)
    monkeypatch.setattr(centers, "CENTERS", MappingProxyType({**centers.CENTERS, "example": place["EXAMPLE"]}))
    for i, name in enumerate(("LYM-1", "LYM-2", "MON-9", "ARTEFACT-3")):
        (tmp_path / "slide 1").mkdir(exist_ok=True)
        Image.fromarray(np.full((20, 20, 3), 40 * i, np.uint8)).save(tmp_path / "slide 1" / f"{name}.png")
    cells = load_cells("example", tmp_path, Preprocessing(grid=8), quiet=True)
    assert cells.paths == ("slide 1/LYM-1.png", "slide 1/LYM-2.png", "slide 1/MON-9.png")
    assert [cells.classes[label] for label in cells.labels] == ["lymphocyte_typical"] * 2 + ["monocyte"]
    assert cells.image_um == 30.0
    assert dict(cells.dropped) == {"ARTEFACT": 1}
