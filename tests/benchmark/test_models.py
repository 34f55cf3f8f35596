"""All three models of the paper in one benchmark, and what each of them may see."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import leukonca
from leukonca.benchmark.models import MODELS, SIZES, find_runner
from leukonca.cli import main
from leukonca.errors import UsageError

from .conftest import CENTERS, SMALL, one_thread, results

THREE = [*SMALL, "resnext.epochs=1", "resnext.draws=8", "resnext.batch_size=8", "resnext.grid=16"]
THREE += ["aecfe.epochs=1", "aecfe.draws=12", "aecfe.batch_size=6"]
FOLD = ["--only-folds", "0", "--sources", "cream", "--engine", "cpu"]


@pytest.fixture(scope="module")
def three(centers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a benchmark of all models: one source, one fold, both protocols."""
    out = tmp_path_factory.mktemp("three") / "out"
    data = [f"folder={centers / name}" for name in CENTERS]
    with pytest.MonkeyPatch.context() as patch, one_thread():
        patch.setenv("LEUKONCA_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        call = ["benchmark", "cross-center", "--data", *data, "--protocols", "strict", "paper"]
        assert main([*call, "--models", ",".join(MODELS), "--out", str(out), *FOLD, *THREE]) == 0
    return out


def answers(path: Path) -> np.ndarray:
    lines = list(csv.reader(path.read_text().splitlines()))[1:]
    return np.array([[float(value) for value in line[3:]] for line in lines])


def test_every_model_has_a_row_for_every_pair_and_protocol(three: Path) -> None:
    rows = list(csv.DictReader((three / "table.csv").read_text().splitlines()))
    assert [(row["model"], row["target"], row["protocol"]) for row in rows] == [
        (model, target, protocol) for model in MODELS for protocol in ("strict", "paper") for target in CENTERS
    ]
    assert all(row["errors"] == "" and 0 <= float(row["accuracy"]) <= 1 for row in rows)
    kinds = {
        model: json.loads((three / f"trainings/{model}/cream/fold0/config.json").read_text())["kind"]
        for model in MODELS
    }
    assert kinds == {model: model for model in MODELS}
    logs = {
        model: json.loads((three / f"trainings/{model}/cream/fold0/log.jsonl").read_text().splitlines()[0])
        for model in MODELS
    }
    assert logs["nca"]["engine"] == "cpu"
    assert logs["resnext"]["engine"] == "torch"


def test_strict_sees_nothing_of_the_other_center(three: Path, centers: Path, tmp_path: Path) -> None:
    """Trained and tested at home without the other center, every model is bit by bit the same."""
    call = ["benchmark", "cross-center", "--data", f"folder={centers / 'cream'}", "--out", str(tmp_path)]
    assert main([*call, "--models", ",".join(MODELS), *FOLD, *THREE]) == 0
    alone, both = results(tmp_path), results(three)
    compared = [name for name in alone if name.startswith(("trainings", "tests"))]
    assert len(compared) == 2 * len(MODELS)
    assert all(alone[name] == both[name] for name in compared)


def test_paper_lets_aecfe_see_all_centers_without_labels(three: Path) -> None:
    data = {
        name: json.loads((three / f"trainings/aecfe/cream/{name}/config.json").read_text())["data"]
        for name in ("fold0", "fold0-adapted")
    }
    split = json.loads((three / "trainings/aecfe/cream/fold0/split.json").read_text())
    assert data["fold0"]["seen_without_labels"] == f"{len(split['train'])} of folder"
    assert data["fold0-adapted"]["seen_without_labels"] == (
        f"{4 * CENTERS['cream']} of folder, {5 * CENTERS['lilac']} of folder"
    )
    folder = three / "tests/aecfe/cream/cream"
    assert not np.array_equal(answers(folder / "strict-fold0.csv"), answers(folder / "paper-fold0.csv"))
    assert not (three / "trainings/nca/cream/fold0-adapted").exists()


@pytest.mark.parametrize("model", MODELS)
def test_predictions_are_those_of_the_saved_model(three: Path, centers: Path, model: str) -> None:
    """The loaded folder, asked without the benchmark."""
    from leukonca.data.cells import load_cells
    from leukonca.evaluation.run import evaluate_cells

    loaded = leukonca.load(three / f"trainings/{model}/cream/fold0")
    cells = load_cells("folder", centers / "lilac", loaded.config.preprocessing, quiet=True)
    told = evaluate_cells(loaded, cells, np.arange(len(cells)))
    kept = answers(three / f"tests/{model}/cream/lilac/strict-fold0.csv")
    np.testing.assert_allclose(kept, told.probabilities, atol=6e-6)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("size", SIZES)
def test_settings_survive_json_and_a_second_check(model: str, size: str) -> None:
    runner = find_runner(model)
    settings = runner.settings(size)
    assert json.loads(json.dumps(settings)) == settings
    assert runner.checked(settings, scale_known=True) == settings
    whole = runner.checked(settings, scale_known=False)
    unknown = {name: None for name in ("field_um", "nucleus_um") if name in settings}
    assert whole == {**settings, **unknown}
    assert runner.preprocessing(whole).field_um is None
    with pytest.raises(UsageError):
        runner.checked({**settings, "epochs": 0}, scale_known=True)
    with pytest.raises(UsageError, match="nonsense"):
        runner.checked({**settings, "nonsense": 1}, scale_known=True)


@pytest.mark.parametrize("model", ["nca", "resnext"])
def test_a_benchmark_has_no_teachers(model: str) -> None:
    runner = find_runner(model)
    with pytest.raises(UsageError, match=r"teacher_share is 0\.5: a benchmark has no teachers"):
        runner.checked({**runner.settings("tiny"), "teacher_share": 0.5}, scale_known=True)


def test_the_papers_sizes_are_the_papers() -> None:
    from leukonca.models.building import build
    from leukonca.training.recipe_files import from_json

    for model, parameters in (("nca", 86_413), ("resnext", 23_006_541)):
        settings = find_runner(model).settings("paper")
        assert sum(p.numel() for p in build(from_json(settings).architecture).parameters()) == parameters
    paper = find_runner("aecfe").settings("paper")
    assert (paper["epochs"], paper["learning_rate"], paper["architecture"]["depth"]) == (150, 1e-3, 16)
