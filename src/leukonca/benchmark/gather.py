"""From the records of all tests to the rows of the table: mean and spread over folds, intervals over images."""

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukonca.benchmark.plan import Plan, read_plan
from leukonca.benchmark.published import PAPER, Published
from leukonca.benchmark.records import (
    Record,
    path_of_test,
    path_of_training,
    predictions_digest,
    predictions_path,
    read_record,
    read_tests,
)
from leukonca.errors import DataError
from leukonca.evaluation.intervals import percentile_interval, wilson_interval
from leukonca.evaluation.metrics import scores_of_confusions

SCORES = ("accuracy", "balanced_accuracy", "macro_f1")
"""The scores of the table."""

NOT_YET, INTERRUPTED = "not done yet", "not ended: at work still, or interrupted (then run again)"
"""Why a job that did not fail is not done."""

DRAWS = 1000
"""Of the bootstrap."""


@dataclass(frozen=True)
class Score:
    """A score of one cell of the table.

    Args:
        mean: over folds; None: it has no value.
        spread: standard deviation over folds (n - 1); None with fewer than two folds.
        low, high: 95% interval of the mean over images: see `interval`.
        folds: the score of each fold, in their order.
    """

    mean: float | None
    spread: float | None
    low: float | None
    high: float | None
    folds: tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """One contender, trained on one center and tested on another by one protocol.

    Args:
        variant, source, target, protocol: which.
        scores: by name, see `SCORES`; empty: no fold is done.
        majority: accuracy of always naming the most frequent class, mean over folds.
        ceiling: share of the tested images whose class was trained on, mean over folds; None: unknown.
        images: different images tested.
        done: folds that are done.
        planned: folds that should be.
        errors: fold -> why it failed, or that it is missing.
        published: the paper's accuracy, per cent.
        value: of the ablated setting.
        synthetic: the cells come from a generator.
    """

    variant: str
    source: str
    target: str
    protocol: str
    scores: Mapping[str, Score]
    majority: float | None
    ceiling: float | None
    images: int
    done: tuple[int, ...]
    planned: int
    errors: Mapping[int, str]
    published: Published | None = None
    value: float | None = None
    synthetic: bool = False


@dataclass(frozen=True)
class Table:
    """All that a benchmark's folder holds.

    Args:
        plan: the last one that ran there.
        command: that made it.
        rows: in the plan's order; what an earlier plan left behind comes after.
        versions: of leukonca that the results were made with.
        notes: of the tests, by (source, target, protocol).
    """

    plan: Plan
    command: str
    rows: tuple[Row, ...]
    versions: tuple[str, ...] = ()
    notes: Mapping[tuple[str, str, str], str] = field(default_factory=dict)

    @property
    def missing(self) -> int:
        """Tests that failed, or are not done yet."""
        return sum(len(row.errors) for row in self.rows)

    @property
    def waiting(self) -> int:
        """Those of them that did not fail."""
        return sum(is_waiting(why) for row in self.rows for why in row.errors.values())


def is_waiting(why: str) -> bool:
    """Whether a job that is not done for this reason has not failed."""
    return why.endswith((NOT_YET, INTERRUPTED))


Cell = tuple[str, str, str, str]


def gather(out: Path, *, draws: int = DRAWS) -> Table:
    """Read a benchmark's folder.

    Args:
        out: the folder.
        draws: of the bootstrap; 0: no intervals.

    Raises:
        DataError: there is no plan, or a file is damaged.
    """
    plan, command = read_plan(out)
    found: dict[Cell, dict[int, tuple[Path, Record]]] = defaultdict(dict)
    for unit in plan.units():
        for test in plan.tests(unit):
            found[unit.variant, unit.source, test.target, test.protocol] = {}
    for path, record in read_tests(out):
        job = record.job
        found[job["variant"], job["source"], job["target"], job["protocol"]][int(job["fold"])] = (path, record)
    errors = _errors(out, plan, found)
    rows = tuple(_row(plan, cell, folds, errors.get(cell, {}), draws) for cell, folds in found.items())
    done = [record for folds in found.values() for _, record in folds.values() if record.state == "done"]
    notes = {
        (record.job["source"], record.job["target"], record.job["protocol"]): record.result["note"] for record in done
    }
    return Table(plan, command, rows, tuple(sorted({record.version for record in done})), notes)


def _errors(
    out: Path, plan: Plan, found: Mapping[Cell, Mapping[int, tuple[Path, Record]]]
) -> dict[Cell, dict[int, str]]:
    errors: dict[Cell, dict[int, str]] = defaultdict(dict)
    for cell, folds in found.items():
        for fold, (_, record) in folds.items():
            if record.state != "done":
                errors[cell][fold] = record.error or INTERRUPTED
    for unit in plan.units():
        training = read_record(path_of_training(out, unit))
        for test in plan.tests(unit):
            cell = (unit.variant, unit.source, test.target, test.protocol)
            if unit.fold in found[cell] or path_of_test(out, test).exists():
                continue
            errors[cell][unit.fold] = (
                NOT_YET
                if training is None or training.state == "done"
                else f"training: {training.error or INTERRUPTED}"
            )
    return errors


def _row(
    plan: Plan, cell: Cell, folds: Mapping[int, tuple[Path, Record]], errors: Mapping[int, str], draws: int
) -> Row:
    variant, source, target, protocol = cell
    done = {fold: folds[fold] for fold in sorted(folds) if folds[fold][1].state == "done"}
    results = [record.result for _, record in done.values()]
    metrics = [result["metrics"] for result in results]
    tables = [_read_predictions(path, record) for path, record in done.values()]
    ends = interval(tables, metrics[0]["class_names"], draws=draws, seed=plan.seed) if metrics and draws else {}
    contender = next((each for each in plan.variants if each.name == variant), None)
    pair = (results[0]["source_kind"], results[0]["target_kind"]) if results else ("", "")
    return Row(
        variant=variant,
        source=source,
        target=target,
        protocol=protocol,
        scores={name: _score([each[name]["value"] for each in metrics], ends.get(name)) for name in SCORES}
        if metrics
        else {},
        majority=_mean([each["majority_accuracy"] for each in metrics]),
        ceiling=_mean([each["ceiling_accuracy"] for each in metrics]),
        images=len(set().union(*tables)) if tables else 0,
        done=tuple(done),
        planned=len(set(plan.only_folds) | set(folds)),
        errors=dict(sorted(errors.items())),
        published=PAPER.get(contender.model if contender else variant, {}).get(pair) if not plan.ablated else None,
        value=contender.value if contender else None,
        synthetic=any(result["synthetic"] for result in results),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def _score(values: Sequence[float | None], ends: tuple[float, float] | None) -> Score:
    mean = _mean(values)
    known = tuple(float(value) for value in values if value is not None)
    spread = float(np.std(known, ddof=1)) if mean is not None and len(known) > 1 else None
    low, high = ends or (None, None)
    return Score(mean, spread, low, high, known)


Answers = Mapping[str, tuple[str, str]]
"""Path of an image -> its true class and the class that it was given."""


def _read_predictions(record: Path, told: Record) -> Answers:
    path = predictions_path(record)
    if predictions_digest(path) != told.result["predictions_sha256"]:
        raise DataError(f"{path}: not the predictions that belong to {record.name}; delete both, and run again")
    with path.open(encoding="utf-8", newline="") as file:
        return {row["path"]: (row["truth"], row["label"]) for row in csv.DictReader(file)}


def interval(
    folds: Sequence[Answers], classes: Sequence[str], *, draws: int = DRAWS, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """95% intervals of the mean over folds: which images of the center happened to be there.

    The images of all folds together are drawn with replacement, as many as there are; each fold's model is scored
    on those that it was tested on, and the mean over the folds is taken. So folds that share their images (another
    center) are drawn together, and folds that do not (the home center) are drawn from their own. The models stay
    as they are: the spread over folds says what another training would change.

    Args:
        folds: the answers of each fold's model.
        classes: all names that may stand in them.
        draws: of the bootstrap, at least 1.
        seed: the same answers and seed give the same intervals.

    Returns:
        Score -> low and high end. A score that is the same in every draw has none, but for an accuracy of 0 or 1,
        whose interval is Wilson's for as many images as there are.

    Source: Efron 1979, doi 10.1214/aos/1176344552 (percentile bootstrap).
    """
    number = {name: k for k, name in enumerate(classes)}
    kinds = len(classes)
    paths = sorted(set().union(*folds))
    codes = np.full((len(paths), len(folds)), -1, dtype=np.int64)  # truth * K + prediction; -1: not tested
    for column, answers in enumerate(folds):
        codes[:, column] = [
            number[answers[path][0]] * kinds + number[answers[path][1]] if path in answers else -1 for path in paths
        ]
    # Images of the same answers are alike for every score, so it is enough to draw how many there are of each kind.
    patterns, counts = np.unique(codes, axis=0, return_counts=True)  # [P, folds], [P]
    drawn = np.random.default_rng(seed).multinomial(len(paths), counts / len(paths), size=draws)  # [draws, P]
    scores: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    for column in range(len(folds)):
        confusions = np.zeros((draws, kinds * kinds))
        for code in np.unique(patterns[:, column]):
            if code >= 0:
                confusions[:, code] = drawn[:, patterns[:, column] == code].sum(axis=1)
        for name, values in scores_of_confusions(confusions.reshape(draws, kinds, kinds)).items():
            scores[name].append(values)
    ends: dict[str, Any] = {name: percentile_interval(np.mean(scores[name], axis=0)) for name in SCORES}
    told = {name: pair for name, pair in ends.items() if pair is not None and pair[0] < pair[1]}
    right = {truth == label for answers in folds for truth, label in answers.values()}
    if len(right) == 1:  # all or none: drawing them again cannot show that others may be different
        alike = wilson_interval(len(paths) * right.pop(), len(paths))
        told |= {"accuracy": alike} if alike else {}
    return told
