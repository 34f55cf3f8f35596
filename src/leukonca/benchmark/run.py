"""A benchmark from its plan to its report."""

from collections.abc import Callable
from pathlib import Path

from leukonca import __version__
from leukonca.benchmark.centers import Opener
from leukonca.benchmark.cluster import Cluster, run_cluster
from leukonca.benchmark.execute import alone, run_here, run_processes
from leukonca.benchmark.gather import Table, gather
from leukonca.benchmark.models import find_runner
from leukonca.benchmark.plan import Plan, write_plan
from leukonca.benchmark.records import read_tests
from leukonca.benchmark.work import Worker
from leukonca.data.cells import Cells
from leukonca.data.splits import split_cells
from leukonca.errors import DataError, UsageError
from leukonca.files import check_folder
from leukonca.taxonomy import CLASSES

Say = Callable[[str], None]


def trainable(plan: Plan, opener: Opener) -> tuple[list[str], dict[str, str], dict[str, Cells]]:
    """Which centers of a plan can be trained on, whatever it says of its sources.

    Returns:
        Names of those that can; of the others, why not; and the cells of all of them.

    Raises:
        UsageError, DataError: a center that cannot be read at all.
    """
    names: list[str] = []
    reasons: dict[str, str] = {}
    opened: dict[str, Cells] = {}
    variant = plan.variants[0]  # any: which files and labels there are does not depend on it
    runner = find_runner(variant.model)
    for place in plan.places:
        settings = runner.checked(variant.settings, scale_known=place.scale() is not None)
        cells = opener.cells(place, runner.preprocessing(settings))
        opened[place.name] = cells
        if cells.classes != CLASSES:
            reasons[place.name] = f"its labels are not the {len(CLASSES)} classes but {', '.join(cells.classes)}"
            continue
        try:
            split_cells(cells, fold=0, folds=plan.folds, seed=plan.seed)
            names.append(place.name)
        except DataError as error:
            reasons[place.name] = str(error)
    return names, reasons, opened


def run_benchmark(
    plan: Plan,
    out: Path,
    *,
    command: str,
    jobs: int = 1,
    cluster: Cluster = Cluster(),  # noqa: B008  (frozen)
    quiet: bool,
    say: Say,
) -> Table:
    """Do what is left of a plan, and write the report.

    Args:
        plan: what is to be done.
        out: folder of the benchmark; what is done there is not done again.
        command: that led here.
        jobs: processes at a time; 1: this one.
        cluster: where units go instead.
        quiet: no progress bars.
        say: takes lines for the user.

    Raises:
        UsageError: the folder holds results of other settings or data; nothing is changed then.
        DataError: a center cannot be used.
    """
    from leukonca.benchmark.page import write_report

    check_folder(out)
    for place in plan.places:
        if out.resolve().is_relative_to(Path(place.directory).resolve()):
            raise UsageError(f"{out}: lies in the folder of the images of {place.name}; choose another --out")
    with alone(out) as lock:
        worker = Worker(plan, out, quiet=quiet)
        units = list(plan.units())
        left = [unit for unit in units if not worker.is_done(unit)]
        _check_others(plan, out)
        write_plan(out, plan, command, __version__)
        say(f"{len(units)} trainings with their tests, {len(units) - len(left)} of them done before")
        if left and cluster.cluster != "none":
            run_cluster(plan, left, out, cluster, quiet=quiet)
        elif left and jobs > 1:
            run_processes(plan, left, out, jobs=jobs, quiet=quiet, lock=lock)
        elif left:
            run_here(plan, left, out, quiet=quiet, say=say)
        table = gather(out)
        write_report(out, table)
    return table


def _check_others(plan: Plan, out: Path) -> None:
    """Refuse to put models beside each other in one table that were not divided into the same folds."""
    for path, record in read_tests(out):
        for name, wanted in (("seed", plan.seed), ("folds", plan.folds)):
            there = record.settings.get(name, wanted)
            if there != wanted:
                raise UsageError(
                    f"{path}: made with {name} {there}, and this call says {wanted}, so one table cannot hold both; "
                    "choose another --out"
                )


def report_benchmark(out: Path) -> Table:
    """Write the report from what is there.

    Raises:
        DataError: there is no plan, or a file is damaged.
    """
    from leukonca.benchmark.page import write_report

    table = gather(out)
    write_report(out, table)
    return table
