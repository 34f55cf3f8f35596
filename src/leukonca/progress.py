"""Progress bars with time left on a terminal; silence anywhere else."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from leukonca.interrupts import raise_if_asked

T = TypeVar("T")


class Bar(Protocol):
    """What a running bar can do."""

    def advance(self, steps: int = 1) -> None:
        """Move on by so many items; the place where a process that was asked to end ends for sure."""

    def say(self, text: str) -> None:
        """Show a few words (a loss, a file name) beside the bar."""


class _Silent:
    def advance(self, steps: int = 1) -> None:
        raise_if_asked()

    def say(self, text: str) -> None: ...


class _Shown:
    def __init__(self, progress: Progress, label: str, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task(label, total=total, note="")

    def advance(self, steps: int = 1) -> None:
        raise_if_asked()
        self._progress.advance(self._task, steps)

    def say(self, text: str) -> None:
        self._progress.update(self._task, note=text)


@contextmanager
def bar(label: str, total: int, *, quiet: bool = False) -> Iterator[Bar]:
    """A bar on standard error for `total` items; silent when quiet or when standard error is no terminal."""
    if quiet or not sys.stderr.isatty():
        yield _Silent()
        return
    columns = (
        TextColumn("{task.description}", markup=False),  # a file name may look like markup
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _Shown(progress, label, total)


def track(items: Iterable[T], label: str, total: int, *, quiet: bool = False) -> Iterator[T]:
    """Pass `items` through while a bar counts them."""
    with bar(label, total, quiet=quiet) as shown:
        for item in items:
            yield item
            shown.advance()
