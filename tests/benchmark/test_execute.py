"""Units in processes of their own, on a cluster, and what becomes of those that die."""

import json
import os
import shutil
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from leukonca.benchmark import execute
from leukonca.benchmark.plan import Unit, read_plan
from leukonca.benchmark.records import path_of_test, path_of_training, read_record, write_record
from leukonca.benchmark.work import Worker
from leukonca.cli import main

from .conftest import cross_center, results

Capture = pytest.CaptureFixture[str]


def without(finished: Path, out: Path, *units: str, tests: tuple[str, ...] = ()) -> Path:
    """A copy of a finished benchmark that has some units still to do, and the tests of some others."""
    shutil.copytree(finished, out)
    plan, _ = read_plan(out)
    for name in units:
        shutil.rmtree(out / "trainings" / name)
    for name in (*units, *tests):
        for test in plan.tests(plan.unit(name)):
            path_of_test(out, test).unlink()
    return out


def test_processes_give_the_same_as_one(finished: Path, centers: Path, tmp_path: Path) -> None:
    out = without(finished, tmp_path / "out", tests=("nca/cream/fold0", "nca/lilac/fold1"))
    assert cross_center(centers, out, "--jobs", "2") == 0
    assert results(out) == results(finished)
    assert all((out / "trainings" / name / "worker.log").exists() for name in ("nca/cream/fold0", "nca/lilac/fold1"))
    assert not (out / "trainings/nca/lilac/fold0/worker.log").exists(), "what was done is not done again"


def test_submitits_local_mode_gives_the_same(finished: Path, centers: Path, tmp_path: Path) -> None:
    out = without(finished, tmp_path / "out", tests=("nca/cream/fold1",))
    assert cross_center(centers, out, "--cluster", "local", "--cpus", "1", "--hours", "0.1") == 0
    assert results(out) == results(finished)
    assert list((out / "cluster").iterdir())


def test_without_slurm_the_call_is_wrong(finished: Path, centers: Path, tmp_path: Path, capsys: Capture) -> None:
    out = without(finished, tmp_path / "out", "nca/lilac/fold0")
    assert cross_center(centers, out, "--cluster", "slurm", "--partition", "short") == 2
    assert "--cluster slurm: cannot be used here" in capsys.readouterr().err


def test_without_submitit_the_remedy_is_told(
    finished: Path, centers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    out = without(finished, tmp_path / "out", "nca/lilac/fold0")
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert cross_center(centers, out, "--cluster", "local") == 2
    assert "pip install 'leukonca[cluster]'" in capsys.readouterr().err


def test_one_unit_by_hand(finished: Path, tmp_path: Path) -> None:
    out = without(finished, tmp_path / "out", "nca/lilac/fold0")
    units = json.loads((out / "plan.json").read_text())["units"]
    assert units == ["nca/cream/fold0", "nca/lilac/fold0", "nca/cream/fold1", "nca/lilac/fold1"]
    assert main(["benchmark", "work", str(out), "nca/lilac/fold0", "--quiet"]) == 0
    assert main(["benchmark", "work", str(out), "nca/lilac/fold7", "--quiet"]) == 2
    assert main(["benchmark", "report", str(out), "--quiet"]) == 0
    assert results(out) == results(finished)


@pytest.mark.parametrize("at_work", [True, False])
def test_a_process_that_dies_costs_its_unit_only(
    finished: Path,
    centers: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    at_work: bool,
) -> None:
    """Killed from outside, before it wrote its first record or after; the one after it is started all the same."""
    units = ("nca/cream/fold0", "nca/cream/fold1")
    out = without(finished, tmp_path / "out", *units)
    plan, _ = read_plan(out)
    if at_work:
        record = read_record(path_of_training(finished, plan.unit(units[0])))
        assert record is not None
        write_record(path_of_training(out, plan.unit(units[0])), replace(record, state="running"))
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\nkill -9 $$\n")
    fake.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(fake))
        assert cross_center(centers, out, "--jobs", "2") == 4
    told = capsys.readouterr().err
    for fold in (0, 1):
        kept = read_record(path_of_training(out, plan.unit(units[fold])))
        assert kept is not None
        assert kept.state == "failed"
        assert "signal 9" in kept.error
    assert "nca, cream to lilac, strict, fold 0, 1: training: its process ended with signal 9" in told


def test_only_one_process_works_in_a_folder(finished: Path, centers: Path, tmp_path: Path, capsys: Capture) -> None:
    with execute.alone(finished):
        assert cross_center(centers, finished) == 2
    assert f"process {os.getpid()} on " in (told := capsys.readouterr().err)
    assert "is at work there; wait for its end" in told


def test_a_unit_is_done_once_although_two_are_at_it(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    out = without(finished, tmp_path / "out", "nca/lilac/fold0")
    trained: list[str] = []
    train = Worker._train

    def counted(self: Worker, unit: Unit) -> dict[str, Any]:
        trained.append(unit.name)
        waiting.start()
        while not said and waiting.is_alive():  # the other has come, and waits
            time.sleep(0.01)
        return train(self, unit)

    plan, _ = read_plan(out)
    unit, said, failed = plan.unit("nca/lilac/fold0"), list[str](), list[int]()
    second = Worker(plan, out, quiet=True, say=said.append)
    waiting = threading.Thread(target=lambda: failed.append(second.do(unit)))
    monkeypatch.setattr(Worker, "_train", counted)
    assert main(["benchmark", "work", str(out), unit.name, "--quiet"]) == 0
    waiting.join()
    assert trained == [unit.name]
    assert failed == [0]
    assert said[0].startswith(f"nca/lilac/fold0: process {os.getpid()} on ")
    assert not list((out / "trainings").rglob(".*"))
    assert main(["benchmark", "report", str(out), "--quiet"]) == 0
    assert results(out) == results(finished)


def test_a_worker_that_outlives_its_driver_keeps_the_others_out(
    finished: Path, centers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = without(finished, tmp_path / "out", "nca/cream/fold0")
    plan, _ = read_plan(out)
    unit = plan.unit("nca/cream/fold0")
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\nexec sleep 60\n")
    fake.chmod(0o755)
    with monkeypatch.context() as patch, execute.alone(out) as lock:
        patch.setattr(sys, "executable", str(fake))
        worker = execute._start(unit, out, dict(os.environ), lock)
    try:  # the driver has let go, the worker has not
        assert cross_center(centers, out) == 2
    finally:
        worker.kill()
        worker.wait()
    with execute.alone(out):
        pass


def test_threads_are_shared_out(monkeypatch: pytest.MonkeyPatch, finished: Path, tmp_path: Path) -> None:
    given: list[dict[str, str]] = []

    class Ended:
        returncode = 0

        def poll(self) -> int:
            return 0

    def start(_unit: object, _out: Path, environment: dict[str, str], _lock: object) -> Ended:
        given.append(environment)
        return Ended()

    monkeypatch.setenv("OMP_NUM_THREADS", "9")
    monkeypatch.setattr(execute, "_start", start)
    plan, _ = read_plan(finished)
    execute.run_processes(plan, list(plan.units()), without(finished, tmp_path / "out"), jobs=2, quiet=True)
    assert [each["OMP_NUM_THREADS"] for each in given] == ["4"] * 4
    assert {each[name] for each in given for name in execute.THREADS} == {"4"}
