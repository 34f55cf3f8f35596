"""``leukonca demo``: the whole story on synthetic cells."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from leukonca.cli.common import CommonOptions, command_line, parse, say


def run(arguments: Sequence[str]) -> int:
    """Exit code of ``leukonca demo`` with these arguments."""
    return parse("demo", _demo, arguments)


def _demo(
    common: CommonOptions,
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("demo"),
    minutes: float = 3.0,
) -> int:
    """Draw synthetic cells of three centers, train on one, test on all, predict some, and write a report.

    Needs no data and no network. The cells are made by a generator: the results say nothing about real cells.

    Args:
        common: Options of every verb.
        out: Folder for model, predictions and report.
        minutes: About how long it may take on two cores.
    """
    from leukonca.demo import run_demo

    run_demo(
        out,
        minutes=minutes,
        seed=common.seed,
        command=command_line(),
        quiet=common.quiet,
        say=lambda text: say(text, quiet=common.quiet),
    )
    return 0
