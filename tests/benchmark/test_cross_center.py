"""The whole command on synthetic centers: numbers against scikit-learn and `leukonca evaluate`, stops and restarts."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from leukonca.benchmark.models.network import Network
from leukonca.benchmark.models.runner import Run
from leukonca.benchmark.records import differences
from leukonca.benchmark.work import Worker
from leukonca.cli import main
from leukonca.errors import ModelError

from .conftest import CENTERS, SMALL, cross_center, results

Capture = pytest.CaptureFixture[str]

CALL = ["benchmark", "cross-center", "--models", "resnext", "--size", "tiny", "--quiet"]
"""Of a model that no benchmark here has trained."""


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_differences_name_what_only_one_side_has() -> None:
    told = differences({"recipe": {"epochs": 7, "old": None, "same": None}}, {"recipe": {"epochs": 3, "same": None}})
    assert told == ["recipe.epochs: 7 there, 3 now", "recipe.old: null there, not set now"]


def test_the_table_is_what_the_predictions_say(finished: Path) -> None:
    table = rows(finished / "table.csv")
    assert {(row["source"], row["target"], row["protocol"]) for row in table} == {
        (source, target, protocol) for source in CENTERS for target in CENTERS for protocol in ("strict", "paper")
    }
    for row in table:
        folder = finished / "tests" / "nca" / row["source"] / row["target"]
        folds = [rows(folder / f"{row['protocol']}-fold{fold}.csv") for fold in range(2)]
        truths = [[line["truth"] for line in fold] for fold in folds]
        labels = [[line["label"] for line in fold] for fold in folds]
        kinds = [sorted(set(truth)) for truth in truths]
        expected = {
            "accuracy": [metrics.accuracy_score(*pair) for pair in zip(truths, labels, strict=True)],
            "balanced_accuracy": [
                metrics.recall_score(*each, labels=names, average="macro", zero_division=0)
                for *each, names in zip(truths, labels, kinds, strict=True)
            ],
            "macro_f1": [
                metrics.f1_score(*each, labels=names, average="macro", zero_division=0)
                for *each, names in zip(truths, labels, kinds, strict=True)
            ],
        }
        for name, values in expected.items():
            assert float(row[name]) == pytest.approx(np.mean(values), abs=1e-6)
            assert float(row[f"{name}_std"]) == pytest.approx(np.std(values, ddof=1), abs=1e-6)
            if row[f"{name}_low"]:  # else it is the same in every draw
                assert float(row[f"{name}_low"]) < float(row[f"{name}_high"])
        assert float(row["accuracy_low"]) < float(row["accuracy"]) < float(row["accuracy_high"])
        assert int(row["images"]) == len({line["path"] for fold in folds for line in fold})
        assert float(row["majority"]) == pytest.approx(
            np.mean([max(truth.count(name) for name in truth) / len(truth) for truth in truths]), abs=1e-6
        )
        unseen = (row["source"], row["target"]) == ("cream", "lilac")  # one of five classes
        assert row["ceiling"] == ("0.800000" if unseen else "1.000000")
        assert (row["errors"], row["folds"]) == ("", "2")
    accuracies = {row["accuracy"] for row in table}
    assert len(accuracies) > 4, "models that always say the same would pass all of the above"


def test_each_protocol_tests_the_images_that_it_says(finished: Path) -> None:
    split = json.loads((finished / "trainings/nca/cream/fold1/split.json").read_text())
    home = {row["path"] for row in rows(finished / "tests/nca/cream/cream/strict-fold1.csv")}
    assert home == set(split["test"])
    assert {row["path"] for row in rows(finished / "tests/nca/cream/cream/paper-fold1.csv")} == home
    elsewhere = [{row["path"] for row in rows(finished / f"tests/nca/cream/lilac/paper-fold{k}.csv")} for k in (0, 1)]
    assert not elsewhere[0] & elsewhere[1]
    assert len(elsewhere[0] | elsewhere[1]) == 5 * CENTERS["lilac"]
    everything = [rows(finished / f"tests/nca/cream/lilac/strict-fold{k}.csv") for k in (0, 1)]
    assert all(len(each) == 5 * CENTERS["lilac"] for each in everything)
    note = json.loads((finished / "tests/nca/cream/lilac/paper-fold0.json").read_text())["result"]["note"]
    assert "own colors" in note


@pytest.mark.parametrize(
    ("protocol", "words"), [("strict", []), ("paper", ["--normalisation", "target", "--fold", "1"])]
)
def test_evaluate_gives_the_same_numbers(
    finished: Path, centers: Path, tmp_path: Path, protocol: str, words: list[str]
) -> None:
    model = finished / "trainings/nca/cream/fold1"
    call = ["evaluate", str(model), "--data", f"folder={centers / 'lilac'}", "--out", str(tmp_path), "--quiet"]
    assert main([*call, *words]) == 0
    told = json.loads((tmp_path / "metrics.json").read_text())["centers"]["lilac"]
    kept = json.loads((finished / f"tests/nca/cream/lilac/{protocol}-fold1.json").read_text())["result"]["metrics"]
    assert told["images"] == kept["images"]
    assert all(told[name] == value for name, value in kept.items())


def test_what_is_done_is_not_done_again(finished: Path, centers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = results(finished)
    times = {path: path.stat().st_mtime_ns for path in (finished / "trainings").rglob("*") if path.is_file()}

    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing is left to do")

    monkeypatch.setattr(Network, "train", forbidden)
    monkeypatch.setattr(Network, "test", forbidden)
    assert cross_center(centers, finished) == 0
    assert results(finished) == before
    assert {path: path.stat().st_mtime_ns for path in times} == times


def interrupt_at(call: int, method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, but Ctrl-C arrives as soon as its n-th call has done its work."""
    left = [call]

    def wrapped(*arguments: Any, **named: Any) -> Any:
        result = method(*arguments, **named)
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return result

    return wrapped


def test_stopped_three_times_and_started_again_the_table_is_the_same(
    finished: Path, centers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """In a test, in a training after its first epoch, and between the two."""
    from leukonca.training import loop

    for target, name, call in ((Worker, "_test", 3), (loop, "write_checkpoint", 1), (Worker, "_train", 1)):
        with monkeypatch.context() as patch:
            patch.setattr(target, name, interrupt_at(call, getattr(target, name)))
            assert cross_center(centers, tmp_path) == 130
    assert main(["benchmark", "report", str(tmp_path)]) == 4
    shown = capsys.readouterr()
    assert "1 of 2 folds" in shown.out
    assert "leukonca: tests that are not done yet: 12; the report says which" in shown.err
    assert "failed" not in shown.err
    told = (tmp_path / "table.md").read_text()
    assert "nca, cream to cream, strict, fold 1: not done yet" in told
    assert "at work still, or interrupted" in told
    assert results(tmp_path) != results(finished)
    assert cross_center(centers, tmp_path) == 0
    assert results(tmp_path) == results(finished)


def test_a_failed_job_does_not_stop_the_others_and_is_tried_again(
    finished: Path, centers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    shutil.copytree(finished, tmp_path / "out")
    shutil.rmtree(tmp_path / "out/trainings/nca/cream/fold0")
    shutil.rmtree(tmp_path / "out/tests/nca/cream")
    (tmp_path / "out/tests/nca/lilac/cream/paper-fold1.json").unlink()
    (tmp_path / "out/tests/nca/lilac/lilac/paper-fold0.csv").unlink()  # so that its test is done again
    train, test = Network.train, Network.test

    def broken_train(self: Network, settings: Any, material: Any, folder: Path, run: Run) -> None:
        raise ModelError("epoch 1: the loss is no longer finite") if run.seed == 0 else AssertionError

    def broken_test(self: Network, folder: Path, *arguments: Any, **named: Any) -> Any:
        if "lilac" in str(folder):
            raise RuntimeError("no <luck> | today")
        return test(self, folder, *arguments, **named)

    monkeypatch.setattr(Network, "train", broken_train)
    monkeypatch.setattr(Network, "test", broken_test)
    assert cross_center(centers, tmp_path / "out") == 4
    shown = capsys.readouterr().err
    assert "nca, cream to lilac, strict, fold 0: training: epoch 1: the loss is no longer finite" in shown
    assert "nca, lilac to cream, paper, fold 1: RuntimeError: no <luck> | today" in shown
    assert "Traceback" not in shown
    by_pair = {(r["source"], r["target"], r["protocol"]): r for r in rows(tmp_path / "out/table.csv")}
    assert (by_pair["cream", "lilac", "strict"]["folds"], by_pair["cream", "lilac", "strict"]["accuracy_std"]) == (
        "1",
        "",
    )
    assert by_pair["lilac", "lilac", "strict"]["folds"] == "2"
    assert "RuntimeError" in by_pair["lilac", "lilac", "paper"]["errors"]
    assert r"no <luck> \| today" in (tmp_path / "out/table.md").read_text()
    assert "no &lt;luck&gt; | today" in (tmp_path / "out/report.html").read_text()
    kept = json.loads((tmp_path / "out/tests/nca/lilac/cream/paper-fold1.json").read_text())
    assert "broken_test" in kept["traceback"]
    monkeypatch.setattr(Network, "train", train)
    monkeypatch.setattr(Network, "test", test)
    assert cross_center(centers, tmp_path / "out") == 0
    assert results(tmp_path / "out") == results(finished)


def test_other_settings_or_data_are_refused_and_nothing_changes(
    finished: Path, centers: Path, tmp_path: Path, capsys: Capture
) -> None:
    before = results(finished), (finished / "plan.json").read_bytes()
    assert cross_center(centers, finished, "--set", "nca.epochs=3") == 2
    assert "recipe.epochs: 12 there, 3 now" in capsys.readouterr().err
    assert cross_center(centers, finished, "--seed", "1") == 2
    assert "seed: 0 there, 1 now" in capsys.readouterr().err
    for words, told in ((["--folds", "3"], "folds 2, and"), (["--folds", "2", "--seed", "1"], "seed 0, and")):
        assert main([*CALL, "--data", f"folder={centers / 'cream'}", "--out", str(finished), *words]) == 2
        assert told in capsys.readouterr().err
    shutil.copytree(centers, tmp_path / "changed")
    next((tmp_path / "changed/lilac/eosinophil").iterdir()).unlink()
    assert cross_center(tmp_path / "changed", finished) == 2
    told = capsys.readouterr().err
    assert "tested_data" in told
    assert "--out" in told
    assert (results(finished), (finished / "plan.json").read_bytes()) == before


def test_a_center_that_is_too_small_is_only_tested_on(centers: Path, tmp_path: Path, capsys: Capture) -> None:
    call = ["benchmark", "cross-center", "--models", "nca", "--out", str(tmp_path), "--only-folds", "0"]
    data = ["--data", f"folder={centers / 'lilac'}", "--data", f"folder={centers / 'few'}"]
    small = [word for word in SMALL if word != "--quiet"]
    assert main([*call, *data, *small]) == 0
    out = capsys.readouterr().out
    assert "few is only tested on, not trained on" in out
    assert "Synthetic cells" in out
    assert [(row["source"], row["target"]) for row in rows(tmp_path / "table.csv")] == [
        ("lilac", "lilac"),
        ("lilac", "few"),
    ]
    assert main([*call, *data, *small, "--sources", "few"]) == 3
    assert "basophil" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["nonsense"], 2, "cross-center"),
        (["cross-center"], 2, "--data"),
        (["cross-center", "--data", "nothing"], 2, "NAME=DIR"),
        (["cross-center", "--data", "acevedo21=x"], 2, "acevedo20"),
        (["cross-center", "--data", "folder=/does/not/exist"], 3, "/does/not/exist"),
        (["cross-center", "--data", "folder={lilac}", "--models", "vgg"], 2, "resnext"),
        (["cross-center", "--data", "folder={lilac}", "--models", "nca,nca"], 2, "twice"),
        (["cross-center", "--data", "folder={lilac}", "--models", ","], 2, "at least one model"),
        (["cross-center", "--data", "folder={lilac}", "--set", "nca.nonsense=1"], 2, "nonsense"),
        (["cross-center", "--data", "folder={lilac}", "--set", "vgg.epochs=1"], 2, "vgg"),
        (["cross-center", "--data", "folder={lilac}", "--set", "epochs"], 2, "MODEL.SETTING=VALUE"),
        (["cross-center", "--data", "folder={lilac}", "--set", "nca.epochs=0"], 2, "epochs is 0"),
        (["cross-center", "--data", "folder={lilac}", "--folds", "1"], 2, "2 folds or more"),
        (["cross-center", "--data", "folder={lilac}", "--only-folds", "5"], 2, "0 to 4"),
        (["cross-center", "--data", "folder={lilac}", "--jobs", "0"], 2, "--jobs"),
        (["cross-center", "--data", "folder={lilac}", "--folds", "2", "--sources", "x"], 2, "lilac"),
        (["cross-center", "--data", "folder={lilac}", "--out", "{lilac}/out", "--folds", "2"], 2, "of the images"),
        (["ablate", "depth", "--data", "folder={lilac}"], 2, "channels"),
        (["report", "{lilac}"], 3, "plan.json"),
        (["work", "{lilac}", "nca"], 3, "plan.json"),
    ],
)
def test_wrong_calls(words: list[str], code: int, told: str, centers: Path, tmp_path: Path, capsys: Capture) -> None:
    call = [word.format(lilac=centers / "lilac") for word in words]
    if call[0] == "cross-center":  # the models that are there do not matter here
        call = call if "--models" in call else [*call, "--models", "nca"]
        call = call if "--out" in call else [*call, "--out", str(tmp_path)]
    assert main(["benchmark", *call]) == code
    shown = capsys.readouterr()
    assert told in shown.err + shown.out
    assert "Traceback" not in shown.err


def test_a_damaged_record_is_named(finished: Path, tmp_path: Path, capsys: Capture) -> None:
    shutil.copytree(finished, tmp_path / "out")
    path = tmp_path / "out/tests/nca/cream/lilac/strict-fold0.json"
    whole = json.loads(path.read_text())
    for damaged in ("{", "[]", "{}", json.dumps({**whole, "job": {}}), json.dumps({**whole, "result": {}})):
        path.write_text(damaged)
        assert main(["benchmark", "report", str(tmp_path / "out")]) == 3
        assert str(path) in capsys.readouterr().err
    shutil.copy(finished / "tests/nca/cream/lilac/strict-fold0.json", path)
    predictions = path.with_suffix(".csv")
    predictions.write_bytes(predictions.read_bytes()[:-20])
    assert main(["benchmark", "report", str(tmp_path / "out")]) == 3
    assert str(predictions) in capsys.readouterr().err


def test_an_ablation_trains_every_value_and_draws_its_curve(centers: Path, tmp_path: Path, capsys: Capture) -> None:
    call = ["benchmark", "ablate", "channels", "--values", "6", "4", "--data", f"folder={centers / 'lilac'}"]
    small = [word for word in SMALL if word != "--quiet"]
    assert main([*call, "--out", str(tmp_path), "--only-folds", "1", *small]) == 0
    table = rows(tmp_path / "table.csv")
    assert [(row["model"], row["value"], row["folds"]) for row in table] == [
        ("nca-channels-4", "4", "1"),
        ("nca-channels-6", "6", "1"),
    ]
    for row in table:
        folder = tmp_path / "trainings" / row["model"] / "lilac/fold1"
        config = json.loads((folder / "config.json").read_text())
        assert config["architecture"]["channels"] == int(row["value"])
        told = rows(tmp_path / "tests" / row["model"] / "lilac/lilac/strict-fold1.csv")
        right = np.mean([line["truth"] == line["label"] for line in told])
        assert float(row["accuracy"]) == pytest.approx(right, abs=1e-6)
    assert {path.name for path in tmp_path.glob("curves*")} == {"curves-strict.svg", "curves-strict.png"}
    assert "channels" in capsys.readouterr().out
