"""What a training begins with: a trained model, teachers that are there already."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import leukonca
from leukonca.cli import main
from leukonca.data.synthetic import write_synthetic

from .conftest import SMALL


def test_fine_tuning_begins_as_a_trained_model(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lab, out = tmp_path / "lab", tmp_path / "tuned"
    write_synthetic(lab, "synthetic_lilac", 6, seed=5, quiet=True)
    call = ["train", "--data", f"folder={lab}", "--pretrained", str(trained), "--draws", "8"]
    assert main([*call, "--epochs", "1", "--learning-rate", "1e-9", "--average", "0", "--out", str(out)]) == 0
    before, after = leukonca.load(trained), leukonca.load(out)
    for name, array in before.weights().items():
        np.testing.assert_allclose(after.weights()[name], array, atol=1e-6)
    assert after.config.mean == before.config.mean
    assert [each["model"] for each in after.config.data["pretrained"]] == [trained.name]
    report = (out / "report.html").read_text(encoding="utf-8")
    assert f"{trained.name} ({before.config.data['center']})" in report
    (scores,) = json.loads((out / "metrics.json").read_text(encoding="utf-8"))["centers"].values()
    began = scores["began_as"]
    assert began == {
        "model": trained.name,
        **{name: scores[name] for name in ("accuracy", "balanced_accuracy", "macro_f1")},
    }
    told = f"{100 * began['accuracy']['value']:.1f}%"
    assert f"The model that it began as, {trained.name}: {told} (" in report
    assert f": {told} right by {trained.name}, which it began as" in capsys.readouterr().out
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert main([*call, "--epochs", "1", "--quiet"]) == 0
        assert (tmp_path / "runs" / f"folder-from-{trained.name}-fold0" / "model.safetensors").is_file()


def test_a_teacher_of_the_same_split_is_followed(
    trained: Path, laboratory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["train", "--data", f"folder={laboratory}", *SMALL, "--epochs", "1", "--draws", "8", "--quiet"]
    taught = [*call, "--teacher", str(trained), "--out", str(tmp_path / "taught")]
    assert main(taught) == 0
    config = leukonca.load(tmp_path / "taught").config
    assert config.recipe["teacher_share"] == 0.6
    assert [each["model"] for each in config.teachers] == [trained.name]
    parameters = sum(array.size for array in leukonca.load(trained).weights().values())
    report = (tmp_path / "taught" / "report.html").read_text(encoding="utf-8")
    assert f"{trained.name} (nca, {parameters:,} parameters)" in report
    assert main([*taught[:-2], "--fold", "1", "--out", str(tmp_path / "other")]) == 2
    assert "was trained on other images, or on another split of them" in capsys.readouterr().err
    assert main([*call, "--teacher-share", "0.5", "--out", str(tmp_path / "alone")]) == 2
    assert "there is no teacher; name one (--teacher MODEL)" in capsys.readouterr().err
    assert main([*call, "--teacher", "acevedo21", "--out", str(tmp_path / "alone")]) == 3
    assert "acevedo21" in capsys.readouterr().err
    assert main([*call, "--teacher", str(trained), "--teacher", "acevedo21", "--out", str(tmp_path / "alone")]) == 3
    assert "acevedo21" in capsys.readouterr().err
    for empty in (["--teacher"], ["--teacher="], ["--teacher", str(trained), ""]):
        assert main([*call, "--out", str(tmp_path / "alone"), *empty]) == 2
        assert "--teacher is empty" in capsys.readouterr().err
    assert not (tmp_path / "alone").exists()
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("words", [["--fold", "2"], ["--fold", "2", "--grid", "24"], ["--fold", "2", "--margin", "3"]])
def test_what_an_unknown_split_may_have_held_is_never_tested(
    trained: Path, laboratory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    """Whatever the new model sees of the same files."""
    lost = tmp_path / "lost"
    shutil.copytree(trained, lost)
    (lost / "split.json").unlink()
    call = ["train", "--data", f"folder={laboratory}", "--pretrained", str(lost), "--epochs", "1", "--draws", "4"]
    assert main([*call, *words, "--out", str(tmp_path / "none"), "--quiet"]) == 2
    assert (
        "began as lost, which was trained on this center, and nobody can say on which images" in capsys.readouterr().err
    )
    assert not (tmp_path / "none" / "model.safetensors").exists()


def test_another_grid_is_compared_with_what_the_model_said_before(
    trained: Path, laboratory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["train", "--data", f"folder={laboratory}", "--pretrained", str(trained), "--epochs", "1", "--draws", "4"]
    assert main([*call, "--grid", "24", "--out", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    before = json.loads((tmp_path / "run" / "metrics.json").read_text())["centers"][laboratory.name]["began_as"]
    first = leukonca.load(trained).config.metrics["accuracy"]["value"]
    assert (before["model"], before["accuracy"]["value"]) == (trained.name, first)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--preset", "tiny"], 2, "--preset and --pretrained both say where to start from; give one"),
        (["--recipe", "acevedo20-compact"], 2, "give one"),
        (["--channels", "9"], 2, "channels 8 (and not 9)"),
        (["--fold", "1"], 2, "its own test part is that of run (fold 0 of 5, seed 0)"),
        (["--seed", "9"], 2, "were seen by run (fold 0 of 5, seed 0)"),
        (["--pretrained", ""], 2, "--pretrained is empty"),
    ],
)
def test_wrong_beginnings(
    trained: Path,
    laboratory: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    told: str,
) -> None:
    """The fold 1, or fold 0 of another seed, holds images that the model was trained on."""
    call = ["train", "--data", f"folder={laboratory}", "--pretrained", str(trained), "--out", str(tmp_path / "run")]
    assert main([*call, *words, "--quiet"]) == code
    assert told in capsys.readouterr().err
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_pretrained_model_that_is_not_there(laboratory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--data", f"folder={laboratory}", "--pretrained", "acevedo21"]) == 3
    assert "acevedo21: no such model folder, and no shipped model of that name" in capsys.readouterr().err


def test_images_of_unknown_scale_are_cut_as_the_pretrained_model_cuts_them(
    laboratory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["train", "--data", f"folder={laboratory}", "--pretrained", "acevedo20-compact", "--epochs", "1"]
    assert main([*call, "--draws", "8", "--out", str(tmp_path / "run")]) == 0
    assert "no scale is known, so images are cut by their nucleus" in capsys.readouterr().out
    config, first = leukonca.load(tmp_path / "run").config, leukonca.load("acevedo20-compact").config
    assert config.preprocessing == first.preprocessing
    assert config.image_um is None
    assert config.data["pretrained"][0]["center"] == "acevedo20"


def test_where_nothing_tells_the_scale_that_of_the_pretrained_model_is_taken_and_said(
    laboratory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--preset", "tiny", "--channels", "8", "--hidden", "4", "--steps", "2", "--grid", "12", "--epochs", "1"]
    home = ["train", "--data", f"folder={laboratory}", *small, "--field-um", "20", "--image-um", "30", "--quiet"]
    assert main([*home, "--out", str(tmp_path / "first")]) == 0
    write_synthetic(tmp_path / "lab", "synthetic_lilac", 6, seed=5, quiet=True)
    call = ["train", "--data", f"folder={tmp_path / 'lab'}", "--pretrained", str(tmp_path / "first"), "--draws", "4"]
    assert main([*call, "--epochs", "1", "--out", str(tmp_path / "second")]) == 0
    assert "its images are taken to show 30 um, as those of first; --image-um tells it" in capsys.readouterr().out
    config = leukonca.load(tmp_path / "second").config
    assert (config.image_um, config.preprocessing.field_um) == (30.0, 20.0)
