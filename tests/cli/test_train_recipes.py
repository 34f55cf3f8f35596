"""Recipe files of a training, and the trainings that they name: of teachers, and of the model that it begins as."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import leukonca
from leukonca.cli import loading, main
from leukonca.training.recipe_files import plan_of

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


def test_what_comes_before_is_kept_only_if_it_would_be_trained_again_likewise(
    laboratory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Taught by the same models, and with images of the same scale."""
    for name, recipe in (("large", LARGE), ("other", LARGE.replace("width = 8", "width = 16"))):
        (tmp_path / f"{name}.toml").write_text(recipe)
    first = STUDENT.replace("teachers = [", 'teachers = ["large.toml"] #').replace('field_um = "none"', "field_um = 20")
    (tmp_path / "small.toml").write_text(first)
    for name in ("large", "other"):
        (tmp_path / f"{name}.toml").write_text((tmp_path / f"{name}.toml").read_text().replace('"none"', "20"))
    (tmp_path / "finer.toml").write_text(FINER.replace('field_um = "none"', "field_um = 20"))
    out = tmp_path / "run"
    call = ["train", "--data", f"folder={laboratory}", "--recipe", str(tmp_path / "finer.toml"), "--out", str(out)]
    call += ["--quiet", "--image-um"]
    assert main([*call, "30"]) == 0
    for name in ("model.safetensors", "report.html", "config.json", "checkpoint.safetensors"):
        (out / name).unlink()  # as if it had been stopped before its own training
    assert main([*call, "25", "--resume"]) == 2
    assert "its run has other settings, data or seed" in capsys.readouterr().err
    (tmp_path / "small.toml").write_text(first.replace("large", "other"))
    assert main([*call, "30", "--resume"]) == 2
    assert f"{out / 'pretrained' / 'small'}: its run has other settings" in capsys.readouterr().err
    (tmp_path / "small.toml").write_text(first)
    assert main([*call, "30", "--resume"]) == 0
    capsys.readouterr()


def test_a_folder_with_a_model_is_refused_before_others_are_trained(
    laboratory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "small.toml").write_text(STUDENT.partition("[run]")[0])
    (tmp_path / "finer.toml").write_text(FINER)
    out = tmp_path / "run"
    out.mkdir()
    (out / "config.json").write_text("{}")
    call = ["train", "--data", f"folder={laboratory}", "--recipe", str(tmp_path / "finer.toml"), "--out", str(out)]
    assert main([*call, "--quiet"]) == 2
    assert "already holds a model, and no checkpoint" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["config.json"]


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
