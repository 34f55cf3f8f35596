"""What a training begins with: a recipe file, a trained model, teachers."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import leukonca
from leukonca.cli import loading, main
from leukonca.data.synthetic import write_synthetic
from leukonca.training.recipe_files import plan_of

from .conftest import SMALL

RECIPE = """
preset = "tiny"
epochs = 1
[architecture]
channels = 8
hidden = 12
steps = 4
grid = 16
[run]
seed = 4
fold = 1
folds = 3
"""


def test_a_recipe_file_gives_the_defaults_and_options_replace_them(
    laboratory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(RECIPE)
    call = ["train", "--recipe", str(file), "--data", f"folder={laboratory}", "--quiet"]
    assert main([*call, "--batch-size", "32", "--out", str(tmp_path / "run")]) == 0
    facts = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (facts["architecture"]["channels"], facts["architecture"]["grid"]) == (8, 16)
    assert {name: facts["recipe"][name] for name in ("epochs", "batch_size", "seed", "learning_rate")} == {
        "epochs": 1,
        "batch_size": 32,
        "seed": 4,
        "learning_rate": 3e-3,
    }
    assert (facts["data"]["fold"], facts["data"]["folds"]) == (1, 3)
    assert main([*call, "--preset", "tiny"]) == 2
    assert "give one" in capsys.readouterr().err
    file.write_text("epocs = 3")
    assert main(call) == 2
    assert f"{file}: epocs: there is no such setting; did you mean epochs" in capsys.readouterr().err


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


LARGE = """preset = "resnext-small"
epochs = 1
draws = 8
field_um = "none"
[architecture]
grid = 16
blocks = [1, 1, 1, 1]
width = 8
groups = 2
"""
STUDENT = """preset = "compact"
epochs = 1
draws = 8
field_um = "none"
[architecture]
channels = 52
hidden = 8
steps = 3
grid = 16
[run]
fold = 1
teachers = ["parts/large.toml", "small.toml"]
"""


def test_a_recipe_trains_the_teachers_that_it_names(
    laboratory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One command; the student's fold is theirs, and what is finished is not made twice."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "large.toml").write_text(LARGE)
    (tmp_path / "small.toml").write_text(STUDENT.partition("[run]")[0])
    recipe, out = tmp_path / "student.toml", tmp_path / "run"
    recipe.write_text(STUDENT)
    call = ["train", "--data", f"folder={laboratory}", "--recipe", str(recipe), "--out", str(out)]
    assert main(call) == 0
    assert f"teacher: {out / 'teachers' / 'large'}" in capsys.readouterr().out
    config = leukonca.load(out).config
    assert [(each["model"], each["kind"]) for each in config.teachers] == [("large", "resnext"), ("small", "nca")]
    assert config.recipe["teacher_share"] == 0.6
    for name in ("large", "small"):
        theirs = leukonca.load(out / "teachers" / name).config
        assert (theirs.data["fold"], theirs.data["split_sha256"]) == (1, config.data["split_sha256"])
    before = {path: path.stat().st_mtime_ns for path in out.glob("teachers/*/*")}
    shutil.rmtree(out / "teachers" / "small")
    assert main([*call, "--quiet"]) == 2  # large has a model already
    assert main([*call, "--quiet", "--resume"]) == 0
    after = {path: path.stat().st_mtime_ns for path in out.glob("teachers/*/*")}
    assert after.keys() == before.keys()
    assert all(after[path] == before[path] for path in before if path.parent.name == "large")
    capsys.readouterr()

    for name, text, told in (
        ("parts/large.toml", "margin = 3\n" + LARGE, "large.toml: a teacher with other views than its student's"),
        ("small.toml", STUDENT, "small.toml: a teacher's own recipe needs other models"),
        ("parts/large.toml", "epocs = 3", "large.toml: epocs: there is no such setting"),
    ):
        old = (tmp_path / name).read_text()
        (tmp_path / name).write_text(text)
        assert main([*call[:-1], str(tmp_path / "none"), "--quiet"]) == 2
        assert told in capsys.readouterr().err
        (tmp_path / name).write_text(old)
    assert not (tmp_path / "none").exists()


FINER = STUDENT.replace("grid = 16", "grid = 24").replace(
    'teachers = ["parts/large.toml", "small.toml"]', 'teachers = ["./small.toml"]\npretrained = "small.toml"'
)


def test_a_recipe_trains_the_model_that_it_begins_as(
    laboratory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One command: a coarse grid first, whose model is then trained on at a finer one, and teaches itself."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "large.toml").write_text(LARGE)
    (tmp_path / "small.toml").write_text(STUDENT.replace(', "small.toml"', ""))
    recipe, out = tmp_path / "finer.toml", tmp_path / "run"
    recipe.write_text(FINER)
    call = ["train", "--data", f"folder={laboratory}", "--recipe", str(recipe), "--out", str(out)]
    assert main(call) == 0
    first = out / "pretrained" / "small"
    assert f"begins as: {first}" in capsys.readouterr().out
    config, began = leukonca.load(out).config, leukonca.load(first).config
    assert (began.architecture.grid, config.architecture.grid) == (16, 24)
    assert [each["model"] for each in began.teachers] == ["large"]
    assert [each["model"] for each in config.teachers] == ["small"]
    assert [(each["model"], each["same_images"]) for each in config.pretrained] == [("small", True)]
    assert not config.learned_elsewhere
    assert config.data["split_sha256"] == began.data["split_sha256"]
    assert not (out / "seen_earlier.safetensors").exists()
    assert plan_of(config.recipe, config.data).pretrained == "small.toml"
    assert plan_of(config.recipe, config.data).teachers == ("small.toml",)
    card = (out / "MODEL_CARD.md").read_text()
    assert "- Began as: small, trained on the same images, split alike." in card
    assert "Never seen in training" in card
    assert "the training center's mean" in card
    assert main(["evaluate", str(out), "--data", f"folder={laboratory}", "--out", str(tmp_path / "test")]) == 0
    assert "as which it began" not in capsys.readouterr().out

    before = {path: path.stat().st_mtime_ns for path in first.glob("**/*")}
    for name in ("model.safetensors", "report.html"):
        (out / name).unlink()
    assert main([*call, "--quiet", "--resume"]) == 0
    assert {path: path.stat().st_mtime_ns for path in first.glob("**/*")} == before

    (tmp_path / "small.toml").write_text(STUDENT.replace(', "small.toml"', "").replace("epochs = 1", "epochs = 2"))
    assert main([*call, "--quiet", "--resume"]) == 2
    assert f"{first}: its run has other settings, data or seed" in capsys.readouterr().err

    # What comes of it can be fine-tuned as any other, and remembers both.
    later = ["train", "--data", f"folder={laboratory}", "--pretrained", str(out), "--fold", "1", "--epochs", "1"]
    assert main([*later, "--draws", "4", "--out", str(tmp_path / "later"), "--quiet"]) == 0
    told = leukonca.load(tmp_path / "later").config.pretrained
    assert [(each["model"], each["same_images"]) for each in told] == [("run", True), ("small", True)]
    capsys.readouterr()


def test_files_that_change_between_two_trainings_are_noticed(
    laboratory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The split is that of the files that were there first; of others it would say something else."""
    images = tmp_path / "images"
    shutil.copytree(laboratory, images)
    (tmp_path / "small.toml").write_text(STUDENT.partition("[run]")[0])
    (tmp_path / "finer.toml").write_text(FINER)
    opened = loading.open_center

    def and_then_one_is_lost(*words: Any, **options: Any) -> loading.Opened:
        result = opened(*words, **options)
        next(images.rglob("*.png")).unlink()
        return result

    monkeypatch.setattr(loading, "open_center", and_then_one_is_lost)
    call = ["train", "--data", f"folder={images}", "--recipe", str(tmp_path / "finer.toml"), "--quiet"]
    assert main([*call, "--out", str(tmp_path / "none")]) == 3
    assert "folder: its files changed while they were read" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


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
    ("name", "text", "told"),
    [
        ("small.toml", FINER, "small.toml: begins as another model itself; take one that begins at random"),
        ("small.toml", LARGE, "small.toml: of kind resnext, and finer.toml, which begins as it, of nca"),
        ("small.toml", STUDENT.replace("hidden = 8", "hidden = 12"), "hidden 12 (and not 8) as in finer.toml"),
        ("small.toml", STUDENT.replace("field_um", "nucleus_um"), "small.toml: other views than those of what begins"),
        ("small.toml", STUDENT, "large.toml: no such file"),
        ("small.toml", "epocs = 3", "small.toml: epocs: there is no such setting"),
        ("finer.toml", FINER.replace("pretrained", "pre_trained"), "[run] pre_trained: there is no such setting"),
        ("finer.toml", "teacher_share = 0.5\n" + FINER.replace('["./small.toml"]', "[]"), "there is no teacher"),
    ],
)
def test_recipes_that_cannot_begin_as_they_say(
    laboratory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, told: str
) -> None:
    (tmp_path / "small.toml").write_text(STUDENT.partition("[run]")[0])
    (tmp_path / "finer.toml").write_text(FINER)
    (tmp_path / name).write_text(text)
    call = ["train", "--data", f"folder={laboratory}", "--recipe", str(tmp_path / "finer.toml"), "--quiet"]
    assert main([*call, "--out", str(tmp_path / "none")]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


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
