"""``leukonca benchmark``: many trainings and tests as one restartable table."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tyro.conf import Positional

from leukonca.automaton.names import EngineName
from leukonca.benchmark.centers import Opener, Place
from leukonca.benchmark.cluster import Cluster
from leukonca.benchmark.models import MODELS, find_runner
from leukonca.cli.common import CommonOptions, Device, command_line, say, split_named_folder
from leukonca.cli.loading import DataOptions, check_map, tell_left_out
from leukonca.cli.subverbs import SubVerbs, run_subverb
from leukonca.data.centers import find_center
from leukonca.errors import DataError, UsageError
from leukonca.files import as_line

if TYPE_CHECKING:
    from leukonca.benchmark.gather import Table
    from leukonca.benchmark.plan import Variant

DONE, NOTHING_DONE, SOME_FAILED = 0, 3, 4

MANY = ("--data", "--sources", "--set", "--only-folds", "--protocols", "--values")
"""Options whose values add up where they are given twice."""

Size = Literal["paper", "compact", "tiny"]


def run(arguments: Sequence[str]) -> int:
    """Exit code of ``leukonca benchmark`` with these arguments."""
    return run_subverb("benchmark", SUBVERBS, arguments, repeatable=MANY)


@dataclass(frozen=True)
class Options:
    """What all benchmarks have in common."""

    size: Size = "compact"
    """Settings to start from: as published, for processors, or for tests."""
    changes: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="MODEL.SETTING=VALUE...")] = ()
    """Settings of models to replace, as in nca.epochs=3."""
    sources: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME...")] = ()
    """Centers to train on; by default all that have labels of the 13 classes and enough images of each class."""
    protocols: tuple[Literal["strict", "paper"], ...] = ("strict",)
    """How to test: strict uses nothing of the tested center, paper is the published way."""
    folds: int = 5
    """Into how many parts a source is divided."""
    only_folds: tuple[int, ...] = ()
    """Do these folds only, counted from 0."""
    jobs: int = 1
    """How many trainings at a time, each in a process of its own; the threads are shared out."""
    engine: EngineName = "auto"
    """Of the automaton; auto takes the fastest that fits."""
    device: Device = "cpu"
    """Where torch trains."""


NO_OPTIONS, NO_DATA_OPTIONS, NO_CLUSTER = Options(), DataOptions(), Cluster()
Data = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=DIR...")]
Flat = tyro.conf.arg(name="")


def _cross_center(
    data: Data,
    common: CommonOptions,
    models: Annotated[str, tyro.conf.arg(metavar="MODEL,MODEL...")] = ",".join(MODELS),
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("benchmark/cross-center"),
    options: Annotated[Options, Flat] = NO_OPTIONS,
    cluster: Annotated[Cluster, Flat] = NO_CLUSTER,
    reading: Annotated[DataOptions, Flat] = NO_DATA_OPTIONS,
) -> int:
    """Train every model on every center, fold by fold, test it on every center, and write the table.

    What is done is never done again: the same command goes on where it stopped. Other settings or data need another
    --out. A job that fails does not stop the others; the same command tries it again.

    Args:
        data: Centers and their folders, in the order of the table.
        common: Options of every verb.
        models: Which models, separated by commas.
        out: Folder for models, results and report.
        options: What all benchmarks have in common.
        cluster: Where the trainings go instead.
        reading: How the images are read. The scale of a folder of unknown scale is guessed from each nucleus, or taken
            to be that of the training images by models without nucleus_um.
    """
    from leukonca.benchmark.plan import Variant
    from leukonca.benchmark.settings import changed, read_changes

    wanted = [name for name in models.replace(",", " ").split() if name]
    replaced = read_changes(options.changes, wanted)
    variants = []
    for name in wanted:
        runner = find_runner(name)
        settings = changed(runner.settings(options.size), replaced[name])
        variants.append(Variant(name, name, runner.checked(settings, scale_known=True)))
    return _go("Cross-center benchmark", "", variants, data, out, common, options, cluster, reading)


def _ablate(
    setting: Annotated[Positional[Literal["channels", "steps", "fire-rate", "grid"]], tyro.conf.arg(metavar="SETTING")],
    /,
    data: Data,
    common: CommonOptions,
    values: tuple[float, ...] = (),
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    options: Annotated[Options, Flat] = NO_OPTIONS,
    cluster: Annotated[Cluster, Flat] = NO_CLUSTER,
    reading: Annotated[DataOptions, Flat] = NO_DATA_OPTIONS,
) -> int:
    """Train automata that differ in one setting, fold by fold, and draw their scores against it.

    Args:
        setting: channels, steps, fire-rate or grid.
        data: Centers and their folders, in the order of the table.
        common: Options of every verb.
        values: Of the setting; by default a range, and what the size has itself; for channels those of the paper's
            figure 3 that hold the image.
        out: Folder for models, results and report; by default benchmark/SETTING.
        options: What all benchmarks have in common.
        cluster: Where the trainings go instead.
        reading: How the images are read. The scale of a folder of unknown scale is guessed from each nucleus, or taken
            to be that of the training images by models without nucleus_um.
    """
    from leukonca.benchmark.ablation import AXES, ablation
    from leukonca.benchmark.settings import changed, read_changes

    settings = changed(find_runner("nca").settings(options.size), read_changes(options.changes, ["nca"])["nca"])
    variants = ablation(setting, settings, values)
    target = out or Path("benchmark") / setting
    return _go(
        f"Ablation of {setting}", AXES[setting].setting, variants, data, target, common, options, cluster, reading
    )


def _report(directory: Annotated[Positional[Path], tyro.conf.arg(metavar="DIR")], /, common: CommonOptions) -> int:
    """Write the table of a benchmark again from what is there, finished or not, and print it.

    Args:
        directory: Folder of a benchmark.
        common: Options of every verb.
    """
    from leukonca.benchmark.run import report_benchmark

    return _tell(report_benchmark(directory), directory, quiet=common.quiet)


def _work(
    directory: Annotated[Positional[Path], tyro.conf.arg(metavar="DIR")],
    unit: Annotated[Positional[str], tyro.conf.arg(metavar="UNIT")],
    /,
    common: CommonOptions,
) -> int:
    """Do one unit of a benchmark, a training with its tests, for schedulers that leukonca does not know.

    Args:
        directory: Folder of a benchmark.
        unit: One of the "units" in its plan.json.
        common: Options of every verb; the seed is the plan's.
    """
    from leukonca.benchmark.plan import read_plan
    from leukonca.benchmark.work import Worker

    plan, _ = read_plan(directory)
    worker = Worker(plan, directory, quiet=common.quiet, say=lambda line: say(line, quiet=common.quiet))
    failed = worker.do(plan.unit(unit))
    return SOME_FAILED if failed else DONE


SUBVERBS: SubVerbs = MappingProxyType(
    {
        "cross-center": (_cross_center, "train every model on every center, test it on all of them"),
        "ablate": (_ablate, "vary one setting of the automaton: channels, steps, fire-rate or grid"),
        "report": (_report, "write and print the table from what is there"),
        "work": (_work, "do one unit of a benchmark, for schedulers of your own"),
    }
)


def _go(
    title: str,
    ablated: str,
    variants: "Sequence[Variant]",
    data: Sequence[str],
    out: Path,
    common: CommonOptions,
    options: Options,
    cluster: Cluster,
    reading: DataOptions,
) -> int:
    from leukonca.benchmark.plan import Plan
    from leukonca.benchmark.run import run_benchmark, trainable

    def tell(text: str) -> None:
        say(text, quiet=common.quiet)

    if options.jobs < 1:
        raise UsageError(f"--jobs {options.jobs}: needs at least 1")
    places = _places(data, reading)
    plan = Plan(
        title=title,
        places=places,
        sources=options.sources or tuple(place.name for place in places),
        variants=tuple(variants),
        protocols=options.protocols,
        folds=options.folds,
        only_folds=options.only_folds or tuple(range(options.folds)),
        seed=common.seed,
        ablated=ablated,
        engine=options.engine,
        device=options.device,
    )
    able, reasons, opened = trainable(plan, Opener(quiet=common.quiet))
    for name in options.sources:
        if name in reasons:
            raise DataError(f"--sources {name}: cannot be trained on: {reasons[name]}")
    if not able:
        raise DataError(f"none of the centers can be trained on: {'; '.join(reasons.values())}")
    plan = replace(plan, sources=options.sources or tuple(able))
    if not options.sources:
        for name, reason in reasons.items():
            tell(f"{name} is only tested on, not trained on: {reason}")
    for place in places:
        tell_left_out(place.name, Path(place.directory), opened[place.name], quiet=common.quiet)
    table = run_benchmark(
        plan, out, command=command_line(), jobs=options.jobs, cluster=cluster, quiet=common.quiet, say=tell
    )
    code = _tell(table, out, quiet=common.quiet)
    left_out = any(cells.skipped or cells.unmatched for cells in opened.values())
    return SOME_FAILED if left_out and code == DONE else code


def _places(data: Sequence[str], reading: DataOptions) -> tuple[Place, ...]:
    named = [split_named_folder(text) for text in data]
    for kind, _ in named:
        find_center(kind)
    check_map(reading.map_file, [kind for kind, _ in named])
    names = [directory.resolve().name if kind == "folder" else kind for kind, directory in named]
    return tuple(
        Place(
            name=_plain(name if names.count(name) == 1 else f"{name}-{names[: i + 1].count(name)}"),
            kind=kind,
            directory=str(directory.resolve()),
            image_um=reading.image_um,
            map_file=str(reading.map_file.resolve()) if reading.map_file and kind == "folder" else None,
            skip_unmatched=reading.skip_unmatched,
            skip_unreadable=reading.skip_unreadable,
        )
        for i, (name, (kind, directory)) in enumerate(zip(names, named, strict=True))
    )


def _plain(name: str) -> str:
    """A name that can be part of a path."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name).lstrip(".") or "_"


def _tell(table: "Table", out: Path, *, quiet: bool) -> int:
    """Show the table and what failed; the exit code that follows."""
    from leukonca.benchmark.gather import is_waiting
    from leukonca.benchmark.tables import faults, plain_text

    say(f"\n{plain_text(table)}\n\nreport: {out / 'report.html'}", quiet=quiet)
    for line in faults(table):
        if not is_waiting(line):
            print(f"leukonca: failed: {as_line(line)}", file=sys.stderr)
    if table.waiting:
        print(f"leukonca: tests that are not done yet: {table.waiting}; the report says which", file=sys.stderr)
    if not any(row.done for row in table.rows):
        return NOTHING_DONE
    return SOME_FAILED if table.missing else DONE
