import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leukonca.cli import main
from leukonca.data.synthetic import write_synthetic
from leukonca.evaluation import run
from leukonca.evaluation.corruption import CORRUPTIONS


def evaluate(model: Path, *words: str) -> int:
    return main(["evaluate", str(model), *words, "--quiet"])


def metrics_of(folder: Path) -> dict[str, dict[str, Any]]:
    centers: dict[str, dict[str, Any]] = json.loads((folder / "metrics.json").read_text())["centers"]
    return centers


def test_home_center_is_tested_on_its_test_fold_only(trained: Path, laboratory: Path, tmp_path: Path) -> None:
    assert evaluate(trained, "--data", f"folder={laboratory}", "--out", str(tmp_path)) == 0
    (again,) = metrics_of(tmp_path).values()
    (at_training,) = metrics_of(trained).values()
    assert again["confusion"] == at_training["confusion"]
    assert again["accuracy"] == at_training["accuracy"]
    assert "never used in training" in str(again["note"])
    assert evaluate(trained, "--data", f"folder={laboratory}", "--fold", "3", "--out", str(tmp_path)) == 2


def test_several_runs_varied_or_not(trained: Path, laboratory: Path, tmp_path: Path) -> None:
    found = []
    for name, words in (("plain", []), ("runs", ["--runs", "3"]), ("varied", ["--runs", "3", "--varied"])):
        assert evaluate(trained, "--data", f"folder={laboratory}", *words, "--out", str(tmp_path / name)) == 0
        found.append(next(iter(metrics_of(tmp_path / name).values())))
    assert [each.get("runs") for each in found] == [
        None,
        {"number": 3, "varied": False},
        {"number": 3, "varied": True},
    ]
    assert evaluate(trained, "--data", f"folder={laboratory}", "--varied", "--out", str(tmp_path / "none")) == 2
    assert not (tmp_path / "none").exists()


def test_a_prior_is_told_and_changes_answers(trained: Path, laboratory: Path, tmp_path: Path) -> None:
    prior = tmp_path / "monocytes.toml"
    prior.write_text("monocyte = 1\n", encoding="utf-8")
    words = ["--data", f"folder={laboratory}", "--prior"]
    assert evaluate(trained, *words, str(prior), "--out", str(tmp_path / "own")) == 0
    (found,) = metrics_of(tmp_path / "own").values()
    assert found["prior"]["name"] == "monocytes.toml"
    assert {name for name, share in found["prior"]["shares"].items() if share} == {"monocyte"}
    assert np.array(found["confusion"]).sum(axis=0).nonzero()[0].tolist() == [found["class_names"].index("monocyte")]
    assert found["note"].endswith("; prior monocytes.toml")
    changed = found["prior"]["changed"]
    assert 0 < changed <= found["certainty"]["flagged"]["value"]
    assert "or an answer that the prior changed" in (tmp_path / "own" / "report.html").read_text(encoding="utf-8")
    assert evaluate(trained, *words, "bloood", "--out", str(tmp_path / "none")) == 2
    assert not (tmp_path / "none").exists()


def test_a_copy_of_a_training_image_under_another_name_is_not_tested(
    trained: Path, laboratory: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "cells"
    shutil.copytree(laboratory, copy)
    split = json.loads((trained / "split.json").read_text())
    shutil.copy(copy / split["train"][0], copy / Path(split["train"][0]).parent / "new_name.png")
    assert evaluate(trained, "--data", f"folder={copy}", "--out", str(tmp_path / "out")) == 0
    (tested,) = metrics_of(tmp_path / "out").values()
    assert tested["images"] == len(split["test"])


def test_other_centers_whole_or_one_fold_and_with_their_own_colors(
    trained: Path, laboratory: Path, tmp_path: Path
) -> None:
    foreign = tmp_path / "foreign"
    write_synthetic(foreign, "synthetic_lilac", 5, seed=2, quiet=True)
    for path in sorted(foreign.rglob("*.png")):
        path.rename(path.with_name("other_" + path.name))
    data = ["--data", f"folder={laboratory}", f"folder={foreign}"]
    assert evaluate(trained, *data, "--out", str(tmp_path / "strict")) == 0
    strict = metrics_of(tmp_path / "strict")
    assert list(strict) == [laboratory.name, "foreign"]
    assert strict["foreign"]["images"] == 65
    assert evaluate(trained, *data, "--normalisation", "target", "--out", str(tmp_path / "target")) == 0
    target = metrics_of(tmp_path / "target")
    assert "own colors" in str(target["foreign"]["note"])
    assert target["foreign"]["brier"] != strict["foreign"]["brier"]
    one_fold = ["--data", f"folder={foreign}", "--fold", "1", "--out", str(tmp_path / "fold")]
    assert evaluate(trained, *one_fold) == 0
    assert metrics_of(tmp_path / "fold")["foreign"]["images"] == 13


def test_a_table_of_patients_is_of_one_center_and_read_before_any_image(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, ward, other = tmp_path / "patients.csv", tmp_path / "ward", tmp_path / "other"
    for folder in (ward, other):
        (folder / "monocyte").mkdir(parents=True)
        (folder / "monocyte" / "a.png").write_bytes(b"no image")
    words = ["--patients", str(table), "--out", str(tmp_path / "out")]
    assert evaluate(trained, "--data", f"folder={ward}", *words) == 3
    assert "patients.csv: no such file" in capsys.readouterr().err
    table.write_text("path,patient\nmonocyte/a.png,7\n", encoding="utf-8")
    assert evaluate(trained, "--data", f"folder={ward}", f"folder={other}", *words) == 2
    assert "a file is of one center" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_corrupted_images_are_tested_when_asked_for(trained: Path, laboratory: Path, tmp_path: Path) -> None:
    data = ["--data", f"folder={laboratory}"]
    assert evaluate(trained, *data, "--corruptions", "jpeg", "dust", "--out", str(tmp_path / "two")) == 0
    (metrics,) = metrics_of(tmp_path / "two").values()
    found: Any = metrics["robustness"]
    assert list(found["kinds"]) == ["jpeg", "dust"]
    assert found["clean"]["accuracy"] == metrics["accuracy"]
    assert found["images"] == metrics["images"]
    accuracies = [entry["value"] for kind in found["kinds"].values() for entry in kind["accuracy"]]
    assert len(accuracies) == 10
    assert found["shifted_accuracy"] == pytest.approx(sum(accuracies) / 10)
    assert "What worse images cost" in (tmp_path / "two" / "report.html").read_text(encoding="utf-8")
    few = ["--corruptions", "--corruption-images", "3", "--out", str(tmp_path / "all")]
    assert evaluate(trained, *data, *few) == 0
    (everything,) = metrics_of(tmp_path / "all").values()
    all_kinds: Any = everything["robustness"]
    assert list(all_kinds["kinds"]) == list(CORRUPTIONS)
    assert all_kinds["images"] == 3
    assert evaluate(trained, *data, "--out", str(tmp_path / "none")) == 0
    (plain,) = metrics_of(tmp_path / "none").values()
    assert "robustness" not in plain


@pytest.mark.parametrize("words", [["--corruptions", "fog"], ["--corruptions", "blur", "--corruption-images", "0"]])
def test_a_corruption_that_cannot_be_meant_is_a_wrong_call(
    trained: Path, laboratory: Path, tmp_path: Path, words: list[str]
) -> None:
    assert evaluate(trained, "--data", f"folder={laboratory}", *words, "--out", str(tmp_path / "out")) == 2
    assert not (tmp_path / "out").exists()


def test_data_given_twice_is_not_lost(trained: Path, laboratory: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    write_synthetic(foreign, "synthetic_lilac", 1, seed=4, quiet=True)
    words = ["--data", f"folder={laboratory}", "--out", str(tmp_path / "out"), f"--data=folder={foreign}"]
    assert evaluate(trained, *words) == 0
    assert set(metrics_of(tmp_path / "out")) == {laboratory.name, "foreign"}
    assert main(["evaluate", str(trained), "--data"]) == 2


def test_a_center_that_cannot_be_opened_is_told_before_any_is_tested(
    trained: Path, laboratory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tested: list[str] = []
    monkeypatch.setattr(run, "evaluate_cells", lambda *_, name, **__: tested.append(name))
    (tmp_path / "foreign" / "heterophil").mkdir(parents=True)
    shutil.copy(next(laboratory.rglob("*.png")), tmp_path / "foreign" / "heterophil" / "a.png")
    words = ["--data", f"folder={laboratory}", f"folder={tmp_path / 'foreign'}", "--out", str(tmp_path / "out")]
    assert evaluate(trained, *words) == 3
    assert "heterophil" in capsys.readouterr().err
    assert tested == []
    assert not (tmp_path / "out").exists()


def test_results_say_that_the_cells_are_synthetic(
    trained: Path, laboratory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(trained), "--data", f"folder={laboratory}", "--out", str(tmp_path)]) == 0
    assert "Synthetic cells" in capsys.readouterr().out
    facts = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    config = json.loads((trained / "config.json").read_text(encoding="utf-8"))
    assert facts["synthetic"] is True
    assert facts["weights_sha256"] == config["weights_sha256"]
    assert config["data"]["synthetic"] is True


def test_skipped_files_are_named_and_told_by_the_exit_code(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = tmp_path / "cells"
    write_synthetic(foreign, "synthetic_yellow", 1, seed=3, quiet=True)
    for path in sorted(foreign.rglob("*.png")):
        path.rename(path.with_name("other_" + path.name))
    (foreign / "monocyte" / "broken.png").write_bytes(b"no image")
    words = ["--data", f"folder={foreign}", "--out", str(tmp_path / "out")]
    assert evaluate(trained, *words) == 3
    assert not (tmp_path / "out").exists()
    assert evaluate(trained, *words, "--skip-unreadable") == 4
    assert metrics_of(tmp_path / "out")["cells"]["images"] == 13
    assert "monocyte/broken.png: " in capsys.readouterr().err
    (foreign / "strangers").mkdir()
    (foreign / "monocyte" / "broken.png").rename(foreign / "strangers" / "what.png")
    assert evaluate(trained, *words, "--skip-unmatched") == 4
    assert "strangers/what.png" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["model.safetensors", "config.json"])
def test_a_damaged_model_is_wrong_input(
    trained: Path, laboratory: Path, tmp_path: Path, missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "model"
    shutil.copytree(trained, broken)
    (broken / missing).unlink()
    assert evaluate(broken, "--data", f"folder={laboratory}") == 3
    assert missing in capsys.readouterr().err


def test_without_the_split_the_home_center_cannot_be_tested(
    trained: Path, laboratory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(trained, copy)
    (copy / "split.json").unlink()
    assert evaluate(copy, "--data", f"folder={laboratory}") == 3
    assert "split.json" in capsys.readouterr().err
