import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import leukonca
from leukonca.cli import main
from leukonca.data.synthetic import write_synthetic
from leukonca.report import training

from .conftest import SMALL


def test_a_run_leaves_a_model_its_test_and_a_report(trained: Path, laboratory: Path) -> None:
    wanted = {"model.safetensors", "config.json", "MODEL_CARD.md", "recipe.json", "split.json", "log.jsonl"}
    wanted |= {"checkpoint.safetensors", "metrics.json", "predictions.csv", "report.html"}
    assert wanted <= {path.name for path in trained.iterdir()}
    split = json.loads((trained / "split.json").read_text())
    every = [*split["train"], *split["validation"], *split["test"]]
    on_disk = {path.relative_to(laboratory).as_posix() for path in laboratory.rglob("*.png")}
    assert len(every) == len(on_disk)
    assert set(every) == on_disk
    rows = (trained / "predictions.csv").read_text().splitlines()
    tested = {row.split(",")[1] for row in rows[1:]}
    assert tested == set(split["test"])
    metrics = json.loads((trained / "metrics.json").read_text())["centers"][laboratory.name]
    right = sum(row.split(",")[2] == row.split(",")[3] for row in rows[1:])
    assert metrics["accuracy"]["value"] == pytest.approx(right / len(tested))
    config = json.loads((trained / "config.json").read_text())
    assert config["metrics"]["accuracy"] == metrics["accuracy"]
    assert config["architecture"]["channels"] == 8
    assert [json.loads(line)["epoch"] for line in (trained / "log.jsonl").read_text().splitlines()] == [1, 2]
    assert f"--data folder={laboratory}" in metrics_command(trained)


def metrics_command(folder: Path) -> str:
    command: str = json.loads((folder / "metrics.json").read_text())["command"]
    return command


def test_predictor_gives_what_the_test_gave(trained: Path, laboratory: Path) -> None:
    """Same crop, same normalisation, same masks on the way without torch."""
    rows = [row.split(",") for row in (trained / "predictions.csv").read_text().splitlines()]
    predictor = leukonca.Predictor(trained)
    from leukonca.data.images import read_image

    told = predictor([read_image(laboratory / row[1]) for row in rows[1:]])
    expected = np.array([[float(value) for value in row[5:]] for row in rows[1:]])
    np.testing.assert_allclose(told.probabilities, expected, atol=2e-6)


def test_a_second_run_into_the_same_folder_is_refused_and_resume_repeats_nothing(
    trained: Path, laboratory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["train", "--data", f"folder={laboratory}", "--out", str(trained), *SMALL, "--quiet"]
    before = (trained / "model.safetensors").read_bytes()
    assert main(call) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*call, "--resume"]) == 0
    assert (trained / "model.safetensors").read_bytes() == before
    assert main([*call, "--resume", "--learning-rate", "0.1"]) == 2
    assert "other settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--data", "acevedo21=x"], 2, "acevedo20"),
        (["--data", "nothing"], 2, "NAME=DIR"),
        (["--data", "folder=/does/not/exist"], 3, "/does/not/exist"),
        (["--preset", "huge", "--data", "folder=x"], 2, "huge"),
        (["--data", "folder=x", "--data", "folder=y"], 2, "one center"),
        (["--recipe", "", "--data", "folder=x"], 2, "--recipe is empty; give a TOML file"),
        (["--recipe=", "--data", "folder=x"], 2, "--recipe is empty"),
        (["--learning-rate", "-1", "--data", "folder=x"], 2, "learning_rate"),
        ([], 2, "--data"),
    ],
)
def test_wrong_calls(words: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *words]) == code
    shown = capsys.readouterr()
    assert told in shown.err + shown.out
    assert "Traceback" not in shown.err


def test_without_a_scale_whole_images_are_used_and_the_model_says_so(laboratory: Path, tmp_path: Path) -> None:
    small = ["--channels", "49", "--hidden", "4", "--steps", "2", "--grid", "12", "--epochs", "1"]
    call = ["train", "--data", f"folder={laboratory}", "--preset", "compact", *small, "--quiet", "--out"]
    assert main([*call, str(tmp_path / "whole")]) == 0
    assert leukonca.load(tmp_path / "whole").config.preprocessing.field_um is None
    assert "the whole image" in (tmp_path / "whole" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert main([*call, str(tmp_path / "known"), "--image-um", "30"]) == 0
    config = leukonca.load(tmp_path / "known").config
    assert (config.preprocessing.field_um, config.image_um) == (22.0, 30.0)


def test_a_model_without_its_checkpoint_is_not_overwritten(
    trained: Path, laboratory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(trained, copy)
    (copy / "checkpoint.safetensors").unlink()
    before = (copy / "split.json").read_bytes()
    call = ["train", "--data", f"folder={laboratory}", "--out", str(copy), *SMALL, "--quiet", "--fold", "1"]
    assert main(call) == main([*call, "--resume"]) == 2
    assert "already holds a model" in capsys.readouterr().err
    assert (copy / "split.json").read_bytes() == before


def test_a_class_with_too_few_images_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_synthetic(tmp_path / "cells", "synthetic_cream", 3, seed=0, quiet=True)
    out = tmp_path / "run"
    assert main(["train", "--data", f"folder={tmp_path / 'cells'}", "--out", str(out), *SMALL, "--quiet"]) == 3
    assert "basophil" in capsys.readouterr().err
    assert not out.exists()


def test_results_never_go_among_the_images_or_over_a_model(
    trained: Path, laboratory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(path.name for path in laboratory.iterdir())
    call = ["train", "--data", f"folder={laboratory}", *SMALL, "--quiet"]
    assert main([*call, "--out", str(laboratory)]) == main([*call, "--out", str(laboratory / "run")]) == 2
    assert "folder of the images" in capsys.readouterr().err
    assert sorted(path.name for path in laboratory.iterdir()) == before
    report = (trained / "report.html").read_bytes()
    assert main(["evaluate", str(trained), "--data", f"folder={laboratory}", "--out", str(trained)]) == 2
    assert (trained / "report.html").read_bytes() == report


def test_a_model_never_stands_there_without_its_temperature(
    laboratory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped after its last epoch, it is no model yet; a finished one that is resumed and stopped stays as it was."""
    out, calibrate = tmp_path / "run", training.calibrate
    call = ["train", "--preset", "tiny", "--epochs", "1", "--draws", "8", "--data", f"folder={laboratory}", "--quiet"]
    call += ["--image-um", "30", "--out", str(out)]
    second: list[int] = []

    def stopped(*_: Any, **__: Any) -> None:
        second.append(main([*call, "--resume"]))  # as another process would; this one is still at work
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "calibrate", stopped)
    assert main(call) == 130
    assert second == [2]
    assert "is training there" in capsys.readouterr().err
    assert not (out / "config.json").exists()
    monkeypatch.setattr(training, "calibrate", calibrate)
    assert main([*call, "--resume"]) == 0
    whole = {path.name: path.read_bytes() for path in out.iterdir()}
    assert leukonca.load(out).config.calibration
    monkeypatch.setattr(training, "calibrate", stopped)
    assert main([*call, "--resume"]) == 130
    assert {path.name: path.read_bytes() for path in out.iterdir()} == whole


def test_an_unfinished_run_is_no_model_yet(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    (copy / "config.json").unlink()
    assert main(["predict", str(copy), str(tmp_path), "--out", str(tmp_path / "o.csv")]) == 3
    assert "--resume" in capsys.readouterr().err
