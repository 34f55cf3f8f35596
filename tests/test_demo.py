import json
from pathlib import Path

import pytest

from leukonca import demo
from leukonca.cli import main


@pytest.mark.parametrize("twice", [False, True])
def test_demo_tells_the_whole_story(
    twice: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With few cells and one epoch: what is written and said, not how good it is."""
    monkeypatch.setattr(demo, "CELLS_TO_TRAIN", 5)
    monkeypatch.setattr(demo, "CELLS_TO_TEST", 1)
    out = tmp_path / "demo"
    for _ in range(1 + twice):
        assert main(["demo", "--minutes", "0.2", "--out", str(out)]) == 0
    facts = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert facts["synthetic"] is True
    assert {name: center["images"] for name, center in facts["centers"].items()} == {
        "cream": 13,
        "lilac": 13,
        "yellow": 13,
    }
    assert len((out / "predictions.csv").read_text(encoding="utf-8").splitlines()) == 1 + 3 * 13
    said = capsys.readouterr().out
    assert "Synthetic cells: for trying, says nothing about real cells" in said
    assert "majority" in said
    assert "leukonca train --data folder=DIR" in said
    assert str(out / "report.html") in said
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Synthetic cells: for trying" in page
    assert "eosinophil, called" in page
    assert page.count("of the pixels&#39; relevance lies on the cell") == 3
    rows = (out / "cells.csv").read_text(encoding="utf-8").splitlines()
    assert rows[0].startswith("path,label,probability,uncertainty,flag,error,basophil")
    assert len(rows) == 1 + len(list((out / "cells").glob("*.png"))) == 8


def test_no_time_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["demo", "--minutes", "0", "--out", str(tmp_path / "demo")]) == 2
    assert "--minutes" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()
