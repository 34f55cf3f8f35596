"""One unit of work: a training and its tests. What is done is never done again; what fails is kept as an error."""

import csv
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from leukonca.benchmark.centers import Opener
from leukonca.benchmark.models import find_runner
from leukonca.benchmark.models.runner import Material, Run, Tested
from leukonca.benchmark.plan import Plan, Test, Unit
from leukonca.benchmark.records import (
    Record,
    differences,
    path_of_test,
    path_of_training,
    predictions_digest,
    predictions_path,
    read_record,
    training_folder,
    write_record,
)
from leukonca.data.cells import Cells
from leukonca.data.splits import split_cells
from leukonca.errors import LeukoncaError, UsageError
from leukonca.evaluation.protocol import find_protocol
from leukonca.files import whole_file
from leukonca.locks import only_one

NAMED = 5
"""Differences of settings that a message names."""


class Worker:
    """Does the units of a plan.

    Args:
        plan: what is to be done.
        out: the benchmark's folder.
        quiet: no progress bars.
        say: takes lines for the user.
    """

    def __init__(self, plan: Plan, out: Path, *, quiet: bool, say: Callable[[str], None] = lambda _: None) -> None:
        self._plan = plan
        self._out = out
        self._say = say
        self._run = Run(plan.seed, plan.folds, plan.engine, plan.device, quiet)
        self._open = Opener(quiet=quiet)

    def do(self, unit: Unit) -> int:
        """Train and test, unless that is done; where another process is at it, wait, and do what it leaves.

        Returns:
            How many jobs failed; each record says why. A failed training counts as one, and is not tested.

        Raises:
            UsageError: results of other settings lie where these would.
        """
        lock = training_folder(self._out, unit) / ".unit.lock"
        with only_one(lock, lambda who: self._say(f"{unit.name}: {who} is at work on it; waiting"), remove=True):
            return self._do(unit)

    def _do(self, unit: Unit) -> int:
        path = path_of_training(self._out, unit)
        started = replace(self.training_record(unit), state="running")
        if not self._is_done(path, started) and not _attempt(path, started, lambda: self._train(unit)):
            return 1
        failed = 0
        for test in self._plan.tests(unit):
            path = path_of_test(self._out, test)
            try:
                started = replace(self.test_record(test), state="running")
            except LeukoncaError as error:  # the tested center cannot be used
                write_record(path, _failed(Record(_of_test(test), {}, "failed"), error))
                failed += 1
                continue
            if not self._is_done(path, started):
                failed += not _attempt(path, started, lambda test=test: self._test(test))  # type: ignore[misc]
        return failed

    def is_done(self, unit: Unit) -> bool:
        """Whether nothing is left of a unit; opens all that it needs.

        Raises:
            DataError: a center cannot be used.
            UsageError: results of other settings lie where these would.
        """
        jobs = [(path_of_training(self._out, unit), self.training_record(unit))]
        jobs += [(path_of_test(self._out, test), self.test_record(test)) for test in self._plan.tests(unit)]
        done = [self._is_done(path, record) for path, record in jobs]  # all of them: each may refuse
        return all(done)

    def training_record(self, unit: Unit) -> Record:
        """Of a training that is not done yet."""
        plan, variant = self._plan, self._plan.variant(unit.variant)
        settings = self._settings(unit)
        data = {unit.source: self._cells(unit, unit.source).fingerprint}
        if unit.adapts:
            data |= {each.name: self._cells(unit, each.name).fingerprint for each in plan.places}
        return Record(
            job={"variant": unit.variant, "source": unit.source, "fold": unit.fold, "adapts": unit.adapts},
            settings={
                "model": variant.model,
                "recipe": settings,
                "seed": plan.seed,
                "fold": unit.fold,
                "folds": plan.folds,
                "adapts": unit.adapts,
                "training_data": data,
            },
            state="running",
        )

    def test_record(self, test: Test) -> Record:
        """Of a test that is not done yet."""
        training = self.training_record(test.unit)
        cells = self._cells(test.unit, test.target)
        return Record(
            job=_of_test(test),
            settings={**training.settings, "protocol": test.protocol, "tested_data": cells.fingerprint},
            state="running",
        )

    def _settings(self, unit: Unit) -> dict[str, Any]:
        variant, source = self._plan.variant(unit.variant), self._plan.place(unit.source)
        return find_runner(variant.model).checked(variant.settings, scale_known=source.scale() is not None)

    def _cells(self, unit: Unit, center: str) -> Cells:
        preprocessing = find_runner(self._plan.variant(unit.variant).model).preprocessing(self._settings(unit))
        guessed = center == unit.source or preprocessing.nucleus_um is not None
        assumed = None if guessed else self._plan.place(unit.source).scale()
        return self._open.cells(self._plan.place(center), preprocessing, assumed)

    def _train(self, unit: Unit) -> dict[str, Any]:
        plan = self._plan
        cells = self._cells(unit, unit.source)
        others = [self._cells(unit, each.name) for each in plan.places if each.name != unit.source]
        material = Material(
            cells,
            split_cells(cells, fold=unit.fold, folds=plan.folds, seed=plan.seed),
            others if unit.adapts else (),
            self._open.synthetic(plan.place(unit.source), cells),
        )
        runner = find_runner(plan.variant(unit.variant).model)
        runner.train(self._settings(unit), material, training_folder(self._out, unit), self._run)
        return {}

    def _test(self, test: Test) -> dict[str, Any]:
        unit, place = test.unit, self._plan.place(test.target)
        cells = self._cells(unit, test.target)
        tested = find_runner(self._plan.variant(unit.variant).model).test(
            training_folder(self._out, unit),
            cells,
            find_protocol(test.protocol),
            unit.fold,
            name=place.name,
            run=self._run,
        )
        predictions = predictions_path(path_of_test(self._out, test))
        _write_predictions(predictions, tested)
        source = self._plan.place(unit.source)
        return {
            "note": tested.note,
            "source_kind": source.kind,
            "target_kind": place.kind,
            "synthetic": self._open.synthetic(place, cells)
            or self._open.synthetic(source, self._cells(unit, unit.source)),
            "predictions_sha256": predictions_digest(predictions),
            "metrics": tested.metrics,
        }

    def _is_done(self, path: Path, wanted: Record) -> bool:
        found = read_record(path)
        if found is None or (not found.settings and found.state == "failed"):
            return False
        if found.key != wanted.key:
            unlike = differences(found.settings, wanted.settings)
            rest = f"; and {len(unlike) - NAMED} more" if len(unlike) > NAMED else ""
            raise UsageError(
                f"{path}: of other settings or data ({'; '.join(unlike[:NAMED])}{rest}). Nothing is overwritten: "
                "choose another --out, or delete what is no longer wanted"
            )
        if found.state == "done" and "predictions_sha256" in found.result:
            answers = predictions_path(path)
            return answers.exists() and predictions_digest(answers) == str(found.result["predictions_sha256"])
        return found.state == "done"


def _of_test(test: Test) -> dict[str, Any]:
    unit = test.unit
    return {
        "variant": unit.variant,
        "source": unit.source,
        "fold": unit.fold,
        "target": test.target,
        "protocol": test.protocol,
    }


def _attempt(path: Path, started: Record, job: Callable[[], dict[str, Any]]) -> bool:
    """Do a job and keep its record; whether it succeeded. Only an interruption goes through."""
    write_record(path, started)
    began = time.monotonic()
    try:
        result = job()
    except Exception as error:  # whatever stops one job must not stop the others
        write_record(path, _failed(started, error))
        return False
    write_record(path, replace(started, state="done", seconds=round(time.monotonic() - began, 1), result=result))
    return True


def _failed(record: Record, error: Exception) -> Record:
    message = str(error) if isinstance(error, LeukoncaError) else f"{type(error).__name__}: {error}"
    return replace(record, state="failed", error=message, traceback="".join(traceback.format_exception(error)))


def _write_predictions(path: Path, tested: Tested) -> None:
    classes: Sequence[str] = tested.metrics["class_names"]
    with (
        whole_file(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "truth", "label", *classes])
        for name, truth, row in zip(tested.paths, tested.labels, tested.probabilities, strict=True):
            writer.writerow([name, classes[truth], classes[int(row.argmax())], *(f"{value:.5f}" for value in row)])
