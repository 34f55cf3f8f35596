"""The units of a plan on a cluster, through submitit: SLURM, or submitit's own local mode."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from leukonca.benchmark.execute import PAUSE, note_death
from leukonca.benchmark.plan import Plan, Unit, read_plan
from leukonca.errors import UsageError
from leukonca.progress import bar


@dataclass(frozen=True)
class Cluster:
    """Where units go, and what each of them asks for."""

    cluster: Literal["none", "slurm", "local"] = "none"
    """`slurm` submits one job a unit; `local` is submitit's way of trying the same on one machine."""
    partition: str | None = None
    """Of SLURM."""
    hours: float = 24.0
    """Longest time of one unit."""
    cpus: int = 4
    """Processors of one unit."""
    gpus: int = 0
    """Graphics cards of one unit; add --device cuda."""
    memory_gb: int = 16
    """Memory of one unit."""


def run_cluster(plan: Plan, units: Sequence[Unit], out: Path, cluster: Cluster, *, quiet: bool) -> None:
    """Submit one job a unit, and wait for all of them; an interruption ends the waiting, not the jobs.

    Args:
        plan: what is to be done.
        units: those that are left.
        out: the benchmark's folder; on a file system that the cluster's machines share.
        cluster: where to, and how much of it.
        quiet: no progress bar.

    Raises:
        UsageError: there is no such cluster here, or submitit is missing.
    """
    try:
        import submitit
    except ModuleNotFoundError as error:
        raise UsageError(
            f"--cluster {cluster.cluster}: needs submitit, which is not installed: pip install 'leukonca[cluster]'"
        ) from error
    out = out.resolve()
    try:
        executor = submitit.AutoExecutor(folder=out / "cluster", cluster=cluster.cluster)
        asked: dict[str, Any] = {
            "name": "leukonca",
            "timeout_min": max(1, round(60 * cluster.hours)),
            "cpus_per_task": cluster.cpus,
            "gpus_per_node": cluster.gpus,
            "mem_gb": cluster.memory_gb,
        }
        if cluster.cluster == "slurm" and cluster.partition:
            asked["slurm_partition"] = cluster.partition
        executor.update_parameters(**asked)
        with executor.batch():
            submitted = [executor.submit(work, str(out), unit.name, cluster.cpus) for unit in units]
    except (RuntimeError, OSError) as error:
        raise UsageError(f"--cluster {cluster.cluster}: cannot be used here ({error})") from error
    waiting = dict(zip(units, submitted, strict=True))
    with bar("cluster", len(units), quiet=quiet) as shown:
        while waiting:
            for unit, job in list(waiting.items()):
                if job.done():
                    del waiting[unit]
                    note_death(plan, unit, out, 0 if job.exception() is None else 1)
                    shown.advance()
                    shown.say(unit.name)
            time.sleep(PAUSE)


def work(out: str, unit: str, threads: int) -> int:
    """Do one unit of the plan in a folder; what a cluster's machine runs.

    Returns:
        How many of its jobs failed.
    """
    import os

    from leukonca.benchmark.execute import THREADS
    from leukonca.benchmark.work import Worker

    os.environ.update(dict.fromkeys(THREADS, str(threads)))
    plan, _ = read_plan(Path(out))
    return Worker(plan, Path(out), quiet=True).do(plan.unit(unit))
