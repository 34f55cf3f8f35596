"""Where the units of a plan are worked on: in this process, in several, or on a cluster."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from leukonca.benchmark.plan import Plan, Unit
from leukonca.benchmark.records import (
    Record,
    path_of_test,
    path_of_training,
    read_record,
    training_folder,
    write_record,
)
from leukonca.benchmark.work import Worker
from leukonca.errors import UsageError
from leukonca.locks import INHERITED, only_one
from leukonca.progress import bar
from leukonca.threads import default_threads

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
"""Environment variables that say how many threads a process uses."""

PAUSE = 0.1
"""Seconds between two looks at the processes."""

Say = Callable[[str], None]


def run_here(plan: Plan, units: Sequence[Unit], out: Path, *, quiet: bool, say: Say) -> None:
    """One unit after the other, in this process."""
    worker = Worker(plan, out, quiet=quiet, say=say)
    for number, unit in enumerate(units, 1):
        say(f"{number} of {len(units)}: {unit.name}")
        worker.do(unit)


def run_processes(
    plan: Plan, units: Sequence[Unit], out: Path, *, jobs: int, quiet: bool, lock: int | None = None
) -> None:
    """Several units at a time, each in a process of its own that shares the threads with the others.

    A process that dies (killed, out of memory) costs its unit only; why is kept as the error of its job.

    Args:
        plan: what is to be done.
        units: those that are left.
        out: the benchmark's folder.
        jobs: how many at a time.
        quiet: no progress bar.
        lock: of `alone`; workers that outlive this process go on holding it.

    Raises:
        UsageError: fewer than 1 job.
    """
    if jobs < 1:
        raise UsageError(f"--jobs {jobs}: needs at least 1")
    share = max(1, default_threads() // jobs)
    environment = {**os.environ, **dict.fromkeys(THREADS, str(share))}
    waiting, running = list(units), dict[Unit, subprocess.Popen[bytes]]()
    try:
        with bar("benchmark", len(units), quiet=quiet) as shown:
            while waiting or running:
                while waiting and len(running) < jobs:
                    unit = waiting.pop(0)
                    running[unit] = _start(unit, out, environment, lock)
                ended = [unit for unit, process in running.items() if process.poll() is not None]
                for unit in ended:
                    code = running.pop(unit).returncode
                    note_death(plan, unit, out, code)
                    shown.advance()
                    shown.say(unit.name)
                if not ended:
                    time.sleep(PAUSE)
    finally:  # on the way out of an interruption, too: nobody would wait for these any more
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()


def _start(unit: Unit, out: Path, environment: dict[str, str], lock: int | None) -> "subprocess.Popen[bytes]":
    log = training_folder(out, unit) / "worker.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "leukonca", "benchmark", "work", str(out), unit.name, "--quiet"],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=() if lock is None else (lock,),
        )


def note_death(plan: Plan, unit: Unit, out: Path, code: int) -> None:
    """Where a worker ended without saying so, call the job that it left running failed."""
    for path in (path_of_training(out, unit), *(path_of_test(out, test) for test in plan.tests(unit))):
        record = read_record(path)
        if record is not None and record.state == "running":
            write_record(path, _killed(record, code))
            return
    if code not in (0, 4) and read_record(path_of_training(out, unit)) is None:
        job = {"variant": unit.variant, "source": unit.source, "fold": unit.fold, "adapts": unit.adapts}
        write_record(path_of_training(out, unit), _killed(Record(job, {}, "failed"), code))


def _killed(record: Record, code: int) -> Record:
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    fields: dict[str, Any] = {**record.__dict__, "state": "failed"}
    fields["error"] = f"its process ended with {how}; out of memory, perhaps. worker.log beside the model may tell"
    return Record(**fields)


@contextmanager
def alone(out: Path) -> Iterator[int | None]:
    """Keep other processes on this machine from working on the same benchmark.

    Yields:
        Descriptor of the lock, to be handed on to workers; None where that would not make them hold it.

    Raises:
        UsageError: one does.
    """

    def refuse(who: str) -> None:
        raise UsageError(f"{out}: {who} is at work there; wait for its end, or choose another --out")

    with only_one(out / ".lock", refuse) as lock:
        yield lock if INHERITED else None
