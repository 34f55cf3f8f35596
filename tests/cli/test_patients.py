"""Whole patients in trainings and tests, typed as a user would."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from leukonca.cli import main

from .conftest import SMALL


@pytest.fixture(scope="module")
def ward(laboratory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The laboratory's cells in folders of six patients, each of whom has one of every class."""
    folder = tmp_path_factory.mktemp("ward") / "cells"
    for of_class in sorted(path for path in laboratory.iterdir() if path.is_dir()):
        for number, image in enumerate(sorted(of_class.glob("*.png"))):
            to = folder / of_class.name / f"patient {number}" / image.name
            to.parent.mkdir(parents=True)
            shutil.copy(image, to)
    return folder


def evaluated(model: Path, cells: Path, out: Path, *words: str) -> dict[str, Any]:
    """What `leukonca evaluate` finds of a model on the only center."""
    assert main(["evaluate", str(model), "--data", f"folder={cells}", *words, "--out", str(out), "--quiet"]) == 0
    (found,) = json.loads((out / "metrics.json").read_text())["centers"].values()
    return dict(found)


def test_no_patient_is_trained_on_and_tested(
    ward: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LEUKONCA_CACHE", str(tmp_path / "cache"))
    run = tmp_path / "run"
    call = ["train", "--data", f"folder={ward}", "--out", str(run), *SMALL]
    assert main([*call, "--patients", "folders"]) == 0
    told = "3 to train on, 1 to watch, 2 for the test"
    assert f"patients: {told}" in capsys.readouterr().out
    split = json.loads((run / "split.json").read_text())
    assert split["patients"] == {"train": 3, "validation": 1, "test": 2}
    of = {part: {path.split("/")[1] for path in split[part]} for part in split["patients"]}
    assert sum(map(len, of.values())) == len(set.union(*of.values())) == 6
    assert told in (run / "MODEL_CARD.md").read_text(encoding="utf-8")
    (center,) = json.loads((run / "metrics.json").read_text())["centers"].values()
    told = "test fold 0 of 5, never used in training, of 2 patients none of whose cells it was trained on here"
    assert center["note"].startswith(told)
    assert center["images"] == len(split["test"])
    assert center["patients"] == 2
    assert "images that 2 patients make" in center["interval"]
    assert "patients: 2" in (run / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert main([*call, "--resume"]) == 2
    assert "other" in capsys.readouterr().err
    by_table = tmp_path / "patients.csv"
    by_table.write_text(
        "path,patient\n" + "".join(f"{path},{path.split('/')[1]}\n" for part in of for path in split[part])
    )
    assert main([*call, "--patients", str(by_table), "--resume"]) == 0
    assert main(["calibrate", str(run), "--data", f"folder={ward}", "--quiet"]) == 3
    assert "give --patients as in the training" in capsys.readouterr().err
    before = (run / "config.json").read_bytes()
    assert main(["calibrate", str(run), "--data", f"folder={ward}", "--patients", "folders", "--quiet"]) == 0
    assert json.loads((run / "config.json").read_text())["thresholds"] == json.loads(before)["thresholds"]
    again = evaluated(run, ward, tmp_path / "out")
    assert again["confusion"] == center["confusion"]
    assert "patients" not in again
    whose = evaluated(run, ward, tmp_path / "whose", "--patients", str(by_table))
    assert {name: whose[name] for name in ("accuracy", "ece", "interval")} == {
        name: center[name] for name in ("accuracy", "ece", "interval")
    }
    assert whose["accuracy"] != again["accuracy"]
    assert whose["note"] == again["note"]  # nobody's cells lie on both sides


def test_a_model_trained_by_image_says_whose_other_cells_it_was_trained_on(ward: Path, tmp_path: Path) -> None:
    assert main(["train", "--data", f"folder={ward}", "--out", str(tmp_path / "run"), *SMALL, "--quiet"]) == 0
    found = evaluated(tmp_path / "run", ward, tmp_path / "out", "--patients", "folders")
    split = json.loads((tmp_path / "run" / "split.json").read_text())
    of = {part: {path.split("/")[1] for path in split[part]} for part in ("train", "validation", "test")}
    known = of["test"] & (of["train"] | of["validation"])
    assert known
    assert found["patients"] == len(of["test"])
    told = f"; {len(known)} of its {len(of['test'])} patients have other cells that were: too good for these"
    assert told in found["note"]


def test_patients_that_nobody_can_tell(laboratory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["train", "--data", f"folder={laboratory}", "--out", str(tmp_path / "run"), *SMALL, "--quiet"]
    assert main([*call, "--patients", "folders"]) == 3
    assert "lie directly in the folder of their class" in capsys.readouterr().err
    assert main([*call, "--patients", str(tmp_path / "none.csv")]) == 3
    assert "none.csv: no such file" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
