"""What is known of every training and test: one JSON file each, beside the model or the predictions."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from leukonca import __version__
from leukonca.benchmark.plan import Test, Unit
from leukonca.errors import DataError
from leukonca.files import fingerprint, write_json

FORMAT = 1

State = Literal["running", "done", "failed"]

_JOB = {"variant", "source", "fold", "target", "protocol"}
_RESULT = {"note", "source_kind", "target_kind", "synthetic", "predictions_sha256", "metrics"}


@dataclass(frozen=True)
class Record:
    """One job.

    Args:
        job: which it is: variant, source, fold, and for a test target and protocol.
        settings: all that its result depends on: settings of the training, seed, fingerprints of the data.
        state: running, if it was not stopped since; done; failed.
        error: why it failed, in a line.
        traceback: where.
        seconds: that it took.
        result: of a test: its metrics, note, images; of a training: nothing.
        version: of leukonca.
    """

    job: Mapping[str, Any]
    settings: Mapping[str, Any]
    state: State
    error: str = ""
    traceback: str = ""
    seconds: float | None = None
    result: Mapping[str, Any] = field(default_factory=dict)
    version: str = __version__

    @property
    def key(self) -> str:
        """The same for the same settings."""
        return fingerprint(dict(self.settings))


def training_folder(out: Path, unit: Unit) -> Path:
    """Where a unit's model lies."""
    return out / "trainings" / unit.name


def path_of_training(out: Path, unit: Unit) -> Path:
    """Where its record lies."""
    return training_folder(out, unit) / "job.json"


def path_of_test(out: Path, test: Test) -> Path:
    """Where a test's record lies; its predictions lie beside, as CSV."""
    return out / "tests" / f"{test.name}.json"


def predictions_path(record: Path) -> Path:
    """The predictions that belong to the record of a test."""
    return record.with_suffix(".csv")


def write_record(path: Path, record: Record) -> None:
    """Write a record, whole or not at all."""
    write_json(path, {"format": FORMAT, **asdict(record)})


def read_record(path: Path) -> Record | None:
    """The record at a path; None where there is none.

    Raises:
        DataError: it is damaged.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw.pop("format") != FORMAT or raw["state"] not in ("running", "done", "failed"):
            raise ValueError("not a record of this version")
        return Record(**raw)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: damaged ({error!r}); delete it, and the job is done again") from error


def read_tests(out: Path) -> Iterator[tuple[Path, Record]]:
    """All records of tests in a benchmark's folder, in the order of their paths.

    Raises:
        DataError: one is damaged.
    """
    for path in sorted((out / "tests").rglob("*.json")):
        record = read_record(path)
        if record is None:
            continue
        if not (record.job.keys() >= _JOB and (record.state != "done" or record.result.keys() >= _RESULT)):
            raise DataError(f"{path}: not the record of a test; delete it, and the job is done again")
        yield path, record


def predictions_digest(path: Path) -> str:
    """SHA-256 of a file of predictions: the record of a test names it, so that neither is mixed with another's.

    Raises:
        DataError: it is missing.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"{path}: missing ({error.strerror}); delete the .json beside it, and run again") from error


def differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What two settings differ in, as lines like ``recipe.epochs: 7 there, 3 now``."""
    old, new = dict(_flat(there)), dict(_flat(now))
    names = [*new, *(name for name in old if name not in new)]
    return [
        f"{name}: {_told(old, name)} there, {_told(new, name)} now"
        for name in names
        if (name in old) != (name in new) or old.get(name) != new.get(name)
    ]


def _told(values: Mapping[str, Any], name: str) -> str:
    return _short(values[name]) if name in values else "not set"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 24 else text[:12] + "..." + text[-5:]
