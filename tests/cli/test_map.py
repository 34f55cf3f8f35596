import csv
import json
import shutil
from pathlib import Path

import pytest

from leukonca.cli import main
from leukonca.taxonomy import CLASSES

from .conftest import SMALL

FOLDERS = {
    "neutrophil_banded": "Neutrophile",
    "neutrophil_segmented": "Neutrophile",
    "lymphocyte_typical": "Lymphozyten",
    "monocyte": "Monozyten",
    "smudge_cell": "Abfall",
}
MAP = '[folders]\nNeutrophile = "neutrophil"\nLymphozyten = "lymphocyte"\nMonozyten = "monocyte"\nAbfall = "ignore"\n'


@pytest.fixture(scope="module")
def coarse(laboratory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of the laboratory's cells under a name of another laboratory, and map.toml beside them."""
    home = tmp_path_factory.mktemp("coarse")
    for fine, folder in FOLDERS.items():
        (home / "cells" / folder).mkdir(parents=True, exist_ok=True)
        for path in sorted((laboratory / fine).iterdir()):
            shutil.copy(path, home / "cells" / folder / f"{fine}_{path.name}")
    (home / "map.toml").write_text(MAP, encoding="utf-8")
    return home


def test_a_model_of_the_13_classes_is_scored_on_the_coarser_ones(
    trained: Path, coarse: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["evaluate", str(trained), "--data", f"folder={coarse / 'cells'}", "--out", str(tmp_path)]
    assert main(call) == 3
    assert "map your names to classes with --map" in capsys.readouterr().err
    assert main([*call, "--map", str(coarse / "map.toml")]) == 0
    told = capsys.readouterr().out
    assert "left out, as the map says: Abfall 6" in told
    assert "cells: scored on 3 coarser classes" in told
    facts = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))["centers"]["cells"]
    assert facts["class_names"] == ["neutrophil", "monocyte", "lymphocyte", "other"]
    assert facts["scored_as"]["neutrophil"]["outputs"] == ["neutrophil_banded", "neutrophil_segmented"]
    with (tmp_path / "predictions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == facts["images"] < 24  # what was trained on is left out, under whatever name
    for row in rows:
        assert list(row)[5:] == list(CLASSES)
        assert row["truth"] == {"Neu": "neutrophil", "Lym": "lymphocyte", "Mon": "monocyte"}[row["path"][:3]]
        own = {name: float(row[name]) for name in CLASSES}
        sums = {
            "neutrophil": own["neutrophil_banded"] + own["neutrophil_segmented"],
            "lymphocyte": own["lymphocyte_typical"] + own["lymphocyte_atypical"],
            "monocyte": own["monocyte"],
        }
        sums["other"] = 1 - sum(sums.values())
        assert row["label"] == max(sums, key=lambda name: sums[name])
        assert float(row["probability"]) == pytest.approx(sums[row["label"]], abs=2e-5)
    assert facts["accuracy"]["value"] == sum(row["truth"] == row["label"] for row in rows) / len(rows)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "neutrophil = neutrophil banded + neutrophil segmented" in page
    assert "which is always wrong" in page


def test_training_on_coarse_labels_gives_a_model_of_these_classes(
    laboratory: Path, coarse: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells, run = f"folder={coarse / 'cells'}", tmp_path / "run"
    words = ["train", "--data", cells, "--map", str(coarse / "map.toml"), "--out", str(run), *SMALL, "--quiet"]
    assert main(words) == 0
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    assert config["classes"] == ["neutrophil", "monocyte", "lymphocyte"]
    assert "neutrophil (neutrophil_banded, neutrophil_segmented)" in (run / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert main(["predict", str(run), str(coarse / "cells" / "Monozyten"), "--out", str(tmp_path / "p.csv")]) == 0
    first = (tmp_path / "p.csv").read_text(encoding="utf-8").splitlines()[0]
    assert first == "path,label,probability,uncertainty,flag,error,neutrophil,monocyte,lymphocyte"
    assert main(["evaluate", str(run), "--data", f"folder={laboratory}", "--out", str(tmp_path / "fine")]) == 0
    (facts,) = json.loads((tmp_path / "fine" / "metrics.json").read_text(encoding="utf-8"))["centers"].values()
    assert facts["class_names"] == [
        *CLASSES[:7],
        "neutrophil",
        "monocyte",
        "lymphocyte",
        "smudge_cell",
    ]
    tested = facts["images"]
    assert facts["ceiling_accuracy"] == pytest.approx((tested - 8 * 6) / tested)
    assert main(["evaluate", str(run), "--data", cells, "--map", str(coarse / "map.toml"), "--fold", "1"]) == 2
    assert "its test fold is 0" in capsys.readouterr().err


def test_data_check_and_stats(coarse: Path, laboratory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(coarse / "cells"), "--map", str(coarse / "map.toml")]
    assert main(["data", "check", *words]) == 0
    rows = {line.split("│")[1].strip(): line for line in capsys.readouterr().out.splitlines() if "│" in line}
    assert [word.strip() for word in rows["Neutrophile"].split("│")[1:4]] == ["Neutrophile", "neutrophil", "12"]
    assert "(dropped)" in rows["Abfall"]
    assert main(["data", "stats", *words]) == 0
    assert "50.0" in next(line for line in capsys.readouterr().out.splitlines() if "neutrophil " in line)
    (coarse / "cells" / "Neu").mkdir()
    shutil.copy(next((coarse / "cells" / "Monozyten").iterdir()), coarse / "cells" / "Neu")
    assert main(["data", "check", *words]) == 4
    assert f"Give their folders a class in {coarse / 'map.toml'}" in capsys.readouterr().err
    shutil.rmtree(coarse / "cells" / "Neu")


@pytest.mark.parametrize("verb", [["data", "check"], ["data", "stats"]])
def test_maps_that_help_nothing(verb: list[str], coarse: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*verb, str(coarse / "cells"), "--map", str(coarse / "none.toml")]) == 3
    assert "none.toml: no such file" in capsys.readouterr().err
    center = ["--center", "matek19"] if verb[1] == "check" else []
    where = str(coarse / "cells") if center else f"matek19={coarse / 'cells'}"
    assert main([*verb, where, *center, "--map", str(coarse / "map.toml")]) == 2
    assert "only center folder can be mapped" in capsys.readouterr().err


def test_a_map_for_a_public_center_is_a_wrong_call(
    trained: Path, coarse: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", f"acevedo20={coarse / 'cells'}", "--map", str(coarse / "map.toml")]
    assert main(["train", *data]) == 2
    assert main(["evaluate", str(trained), *data]) == 2
    assert capsys.readouterr().err.count("only center folder can be mapped") == 2
