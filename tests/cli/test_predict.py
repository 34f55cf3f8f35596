import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import leukonca
from leukonca import CLASSES, NCAClassifier, Predictor
from leukonca.cli import main
from leukonca.models.unusual import UnusualScore

COLUMNS = ["path", "label", "probability", "uncertainty", "flag", "error", *CLASSES]


def rows(path: str = "o.csv") -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        read = list(reader)
    assert reader.fieldnames == COLUMNS
    return read


def test_a_folder_becomes_a_table(model: str, cells: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", model, "cells", "--out", "o.csv"]) == 0
    expected = Predictor(model)([np.asarray(Image.open(f"cells/{n}")) for n in ("a.png", "b.jpg", "deep/c.tif")])
    assert [row["path"] for row in rows()] == ["cells/a.png", "cells/b.jpg", "cells/deep/c.tif"]
    assert [row["label"] for row in rows()] == list(expected.labels)
    for row, numbers in zip(rows(), expected.probabilities, strict=True):
        assert [row[name] for name in CLASSES] == [f"{number:.6f}" for number in numbers]
        assert row["error"] == ""
    shown = capsys.readouterr()
    assert shown.err == ""
    counts = {name: expected.labels.count(name) for name in CLASSES}
    leukocytes = 3 - counts["erythroblast"] - counts["smudge_cell"]
    told = [line.split() for line in shown.out.splitlines()]
    for name, count in counts.items():
        flagged = sum(pair == (name, "uncertain") for pair in zip(expected.labels, expected.flags, strict=True))
        assert [name, str(count), f"{100 * count / leukocytes:.1f}" if leukocytes else "-", str(flagged)] in told
    assert "of the model's predictions" in shown.out
    assert "ynthetic" not in shown.out
    assert "3 classified" in shown.out
    assert "o.csv" in shown.out
    assert "not a medical device" in shown.out


@pytest.mark.parametrize("quiet", [False, True])
def test_a_model_of_synthetic_cells_says_so(
    model: str, cells: Path, capsys: pytest.CaptureFixture[str], quiet: bool
) -> None:
    shutil.copytree(model, "synthetic")
    facts = json.loads(Path("synthetic/config.json").read_text(encoding="utf-8"))
    facts["data"]["synthetic"] = True
    Path("synthetic/config.json").write_text(json.dumps(facts), encoding="utf-8")
    assert main(["predict", "synthetic", "cells", "--out", "o.csv", *(["--quiet"] if quiet else [])]) == 0
    shown = capsys.readouterr()
    note = "Synthetic cells: for trying, says nothing about real cells"
    assert [note in line for line in shown.err.splitlines() if not line.startswith("predicting")] == [True]
    assert shown.out == "" if quiet else shown.out.startswith(note)


def test_bad_files_cost_their_own_rows_only(
    model: str, cells: Path, capsys: pytest.CaptureFixture[str], shared_data: Path
) -> None:
    whole = Path("cells/b.jpg").read_bytes()
    Path("cells/b0.jpg").write_bytes(whole[: len(whole) // 2])
    Path("cells/b1.jpg").write_bytes(b"")
    Path("cells/b2.jpg").write_text("a text")
    Image.new("L", (1, 1)).save("cells/b3.png")
    Path("cells/b4.png").symlink_to("nowhere.png")
    Path("x.jpg").mkdir()
    real = str(sorted((shared_data / "acevedo20-originals/eosinophil").iterdir())[0])
    assert main(["predict", model, "cells", "x.jpg", "gone.png", real, "cells/a.png", "--out", "o.csv"]) == 4
    errors = {row["path"]: row["error"] for row in rows()}
    bad = {
        "cells/b0.jpg": "truncated",
        "cells/b1.jpg": "empty",
        "cells/b2.jpg": "not an image",
        "cells/b3.png": "1 x 1 pixels",
        "cells/b4.png": "a link to a file that is gone",
        "x.jpg": "a folder without image files",
        "gone.png": "no such file",
    }
    good = {"cells/a.png", "cells/b.jpg", "cells/deep/c.tif", real}
    assert errors.keys() == {*bad, *good}
    shown = capsys.readouterr()
    for row in rows():
        if row["path"] in good:
            assert row["error"] == ""
            assert row["label"] in CLASSES
            assert sum(float(row[name]) for name in CLASSES) == pytest.approx(1, abs=1e-5)
        else:
            assert bad[row["path"]] in row["error"]
            assert {row[name] for name in COLUMNS} == {row["path"], row["error"], ""}
            assert f"skipped {row['path']}: {row['error']}" in shown.err
    assert "5 classified" in shown.out
    assert "7 skipped" in shown.out
    assert main(["predict", model, "cells/a.png", real, "--out", "alone.csv", "--quiet"]) == 0
    by_path = {row["path"]: row for row in rows()}
    assert rows("alone.csv") == [by_path["cells/a.png"], by_path[real]]


def test_nothing_usable_is_exit_3_with_the_reasons_written(
    model: str, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", model, "gone.png", "--out", "o.csv"]) == 3
    assert [row["error"] for row in rows()] == ["no such file"]
    assert "no image could be classified" in capsys.readouterr().err


def test_many_bad_files_are_counted_after_the_first_twenty(
    model: str, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = [f"gone{i}.png" for i in range(30)]
    assert main(["predict", model, *gone, "cells/a.png", "--out", "o.csv", "--quiet"]) == 4
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("no such file") == 20
    assert "skipped 10 more" in shown.err


def test_a_deterministic_run_does_not_depend_on_the_seed(model: str, cells: Path) -> None:
    words = ["predict", model, "cells", "--quiet", "--deterministic"]
    for seed in ("1", "2"):
        assert main([*words, "--seed", seed, "--out", f"{seed}.csv"]) == 0
    assert Path("1.csv").read_bytes() == Path("2.csv").read_bytes()
    images = [np.asarray(Image.open(path).convert("RGB")) for path in ("cells/a.png", "cells/b.jpg")]
    expected = Predictor(model, deterministic=True)(images)
    assert [row["probability"] for row in rows("1.csv")[:2]] == [f"{p.max():.6f}" for p in expected.probabilities]
    assert main(["predict", model, "cells", "--quiet", "--out", "random.csv"]) == 0
    assert rows("random.csv") != rows("1.csv")


def test_globs_runs_seed_and_batch_size(model: str, cells: Path) -> None:
    words = ["predict", model, "cells/**/*.[pt]*", "--quiet", "--seed", "5", "--runs", "2"]
    assert main([*words, "--out", "o.csv"]) == 0
    assert main([*words, "--out", "p.csv", "--batch-size", "1"]) == 0
    assert Path("o.csv").read_bytes() == Path("p.csv").read_bytes()
    images = [np.asarray(Image.open(name)) for name in ("cells/a.png", "cells/deep/c.tif")]
    expected = Predictor(model)(images, runs=2, seed=5)
    assert [row["probability"] for row in rows()] == [f"{p.max():.6f}" for p in expected.probabilities]


def test_varied_runs(model: str, laboratory: Path, cells: Path) -> None:
    images = [np.asarray(Image.open(path)) for path in sorted((laboratory / "monocyte").glob("*.png"))]
    words = ["predict", model, str(laboratory / "monocyte"), "--quiet", "--runs", "3"]
    found = []
    for varied in (False, True):
        assert main([*words, *(["--varied"] if varied else []), "--out", "o.csv"]) == 0
        expected = Predictor(model)(images, runs=3, varied=varied).probabilities
        assert [row["probability"] for row in rows()] == [f"{p.max():.6f}" for p in expected]
        found.append(expected)
    assert np.abs(found[0] - found[1]).max() > 1e-3


def test_a_prior_by_name_or_file(model: str, cells: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.toml").write_text("monocyte = 3\nbasophil = 1\n", encoding="utf-8")
    images = [np.asarray(Image.open(f"cells/{name}")) for name in ("a.png", "b.jpg", "deep/c.tif")]
    words = ["predict", model, "cells", "--quiet", "--out", "o.csv"]
    for prior, meant in (("blood", "blood"), ("mine.toml", {"monocyte": 0.75, "basophil": 0.25})):
        assert main([*words, "--prior", prior]) == 0
        expected = Predictor(model)(images, prior=meant)
        assert [row["label"] for row in rows()] == list(expected.labels)
        assert [row["flag"] for row in rows()] == list(expected.flags)
        assert [row["monocyte"] for row in rows()] == [
            f"{p[CLASSES.index('monocyte')]:.6f}" for p in expected.probabilities
        ]
    assert main(["predict", model, "cells", "--out", "p.csv", "--prior", "mine.toml"]) == 0
    changed = int(Predictor(model)(images, prior="mine.toml").changed.sum())
    assert f"Expected shares of the kinds: mine.toml. They changed {changed} labels." in capsys.readouterr().out
    before = Path("o.csv").read_bytes()
    unbalanced = leukonca.load(model)
    unbalanced.config = replace(unbalanced.config, recipe={"balance": False, "loss": "cross_entropy"})
    unbalanced.save("other")
    assert main(["predict", "other", *words[2:], "--prior", "blood"]) == 3
    assert "trained on balanced classes" in capsys.readouterr().err
    assert Path("o.csv").read_bytes() == before


def test_odd_names_survive(model: str, cells: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["a,b.png", 'say "cell".png', "two\nlines.png", "é.png", "-dash.png", "[x].png"]
    (cells / "odd").mkdir()
    for name in names:
        Image.new("RGB", (20, 20)).save(cells / "odd" / name, "PNG")
    (cells / "odd" / "bad\x1b[31m.png").touch()
    assert main(["predict", model, *(f"odd/{name}" for name in names), "odd", "--out", "o.csv"]) == 4
    as_given = [f"odd/{name}" for name in names]
    listed = sorted([*as_given, "odd/bad\x1b[31m.png"])
    assert [row["path"] for row in rows()] == [*as_given, *listed]
    assert "\x1b" not in capsys.readouterr().err


def test_names_that_are_no_utf8_are_spelled_out(model: str, cells: Path, odd_name: str) -> None:
    for name, at in (("a", odd_name), ("a", odd_name + "2")):
        shutil.copyfile(f"cells/{name}.png", f"cells/{at}.png")
    Path(f"cells/{odd_name}3.png").touch()
    words = ["predict", model, f"cells/{odd_name}.png", "cells", "--out", f"{odd_name}.csv"]
    strict = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run([sys.executable, "-m", "leukonca", *words], env=strict, capture_output=True, check=False)
    assert done.returncode == 4, done.stderr
    assert rb"skipped cells/\xff3.png: the file is empty" in done.stderr
    assert rb"Written to \xff.csv" in done.stdout
    found = [row["path"] for row in rows(f"{odd_name}.csv")]
    assert [path for path in found if "xff" in path] == [rf"cells/\xff{i}.png" for i in ("", "", "2", "3")]


def test_as_a_program(model: str, cells: Path) -> None:
    words = [sys.executable, "-W", "error", "-m", "leukonca", "predict", model, "cells", "gone.png", "--out", "n/o.csv"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 4, done.stderr
    assert done.stderr == "leukonca: skipped gone.png: no such file\n"
    assert len(rows("n/o.csv")) == 4
    assert [path.name for path in Path("n").iterdir()] == ["o.csv"]


def test_a_class_that_was_never_trained_on_is_warned_of(
    tmp_path: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = NCAClassifier(preset="tiny")
    torch.nn.init.zeros_(network.head[2].weight)
    with torch.no_grad():
        network.head[2].bias.copy_(20 * torch.nn.functional.one_hot(torch.tensor(CLASSES.index("myeloblast")), 13))
    network.config = replace(
        network.config, mean=(0.7, 0.6, 0.65), std=(0.2, 0.25, 0.15), trained_classes=("basophil", "monocyte")
    )
    network.save(tmp_path / "odd")
    assert main(["predict", str(tmp_path / "odd"), "cells", "--out", "o.csv"]) == 0
    assert "never trained on, so not to be trusted: myeloblast 3" in capsys.readouterr().err
    assert [(row["label"], row["flag"]) for row in rows()] == [("myeloblast", "uncertain")] * 3


@pytest.mark.parametrize(("limit", "odd"), [(-1.0, 3), (2.1, 0)])
def test_where_most_cells_are_unusual_the_count_is_warned_of(
    model: str, tmp_path: Path, cells: Path, capsys: pytest.CaptureFixture[str], limit: float, odd: int
) -> None:
    network = leukonca.load(model)
    channels = network.architecture.channels
    network.unusual = UnusualScore(
        np.ones((5, channels), np.int8), np.full(channels, channels**-0.5, np.float32), np.zeros(1, np.float32)
    )
    network.config = replace(network.config, thresholds={"uncertain": 0.0, "unusual": limit})
    network.save(tmp_path / "odd")
    assert main(["predict", str(tmp_path / "odd"), "cells", "--out", "o.csv"]) == 0
    shown = capsys.readouterr()
    told = "3 of 3 cells are unlike those that the model was trained on (flag unusual): do not rely on its answers"
    assert (told in shown.err) == (odd == 3)
    assert f"3 classified, 0 of them uncertain, {odd} unusual; 0 skipped" in shown.out
    columns = [line.split() for line in shown.out.splitlines() if line.startswith(("leukocytes", "beside"))]
    assert [line[-2:] for line in columns] == [["uncertain", "unusual"]] * 2
    sums = [int(line.split()[-1]) for line in shown.out.splitlines() if line.startswith(CLASSES)]
    assert sum(sums) == odd


def test_a_pattern_without_a_match_costs_a_row(model: str, cells: Path) -> None:
    assert main(["predict", model, "cells/*.png", "cells/*.webp", "--out", "o.csv"]) == 4
    assert [row["path"] for row in rows()] == ["cells/a.png", "cells/*.webp"]
    assert rows()[1]["error"]
