"""Calibration of a model that has none, against the one that training ends with."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import leukonca
from leukonca.cli import main
from leukonca.errors import ModelError
from leukonca.models.config import ModelConfig
from leukonca.models.folder import read_model


def test_training_ends_with_a_calibration(trained: Path) -> None:
    config = json.loads((trained / "config.json").read_text())
    facts = config["calibration"]
    assert facts["images"] == len(json.loads((trained / "split.json").read_text())["validation"])
    assert config["temperature"] != 1
    assert facts["after"]["nll"] < facts["before"]["nll"]
    card = (trained / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"divided by {config['temperature']:g}" in card
    assert f"{facts['before']['nll']:.3f} before, {facts['after']['nll']:.3f} after" in card
    (center,) = json.loads((trained / "metrics.json").read_text())["centers"].values()
    assert center["certainty"]["temperature"] == config["temperature"]
    assert center["certainty"]["chosen"] is True
    assert center["certainty"]["after"]["brier"]["value"] == pytest.approx(center["brier"]["value"], abs=1e-6)


def test_a_model_without_gets_what_training_gives(trained: Path, laboratory: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(trained, old)
    (old / "checkpoint.safetensors").unlink()
    (old / "split.json").unlink()
    model = leukonca.load(old)
    blank = ModelConfig(model.config.architecture)
    model.config = replace(
        model.config, temperature=blank.temperature, thresholds=blank.thresholds, calibration=blank.calibration
    )
    model.save(old)
    assert main(["calibrate", str(old), "--data", f"folder={laboratory}", "--quiet"]) == 0
    assert read_model(old)[0] == read_model(trained)[0]
    assert (old / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()
    ours, theirs = (json.loads((folder / "metrics.json").read_text())["centers"] for folder in (old, trained))
    assert ours == theirs


def test_what_tells_unusual_cells_apart_is_made_anew(trained: Path, laboratory: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(trained, old)
    (old / "unusual.safetensors").write_bytes(b"of an earlier version")
    with pytest.raises(ModelError, match=r"unusual\.safetensors: "):
        leukonca.load(old)
    assert main(["calibrate", str(old), "--data", f"folder={laboratory}", "--quiet"]) == 0
    assert (old / "unusual.safetensors").read_bytes() == (trained / "unusual.safetensors").read_bytes()
    assert leukonca.load(old).unusual is not None


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["nowhere", "--data", "folder=x"], 2, "no such folder"),
        (["{model}"], 2, "--data"),
        (["{model}", "--data", "folder=x", "--data", "folder=y"], 2, "trained on"),
        (["{model}", "--data", "folder={other}"], 3, "not the images that the model was trained on"),
        (["{model}", "--data", "acevedo21=x"], 2, "acevedo20"),
    ],
)
def test_wrong_calls(
    trained: Path, laboratory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    words: list[str], code: int, told: str,
) -> None:  # fmt: skip
    before = {path.name: path.read_bytes() for path in trained.iterdir()}
    other = tmp_path / "other"
    for path in sorted(laboratory.glob("*/*.png"))[::2]:
        (other / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, other / path.parent.name)
    assert main(["calibrate", *(word.format(model=trained, other=other) for word in words)]) == code
    shown = capsys.readouterr()
    assert told in shown.err + shown.out
    assert {path.name: path.read_bytes() for path in trained.iterdir()} == before
