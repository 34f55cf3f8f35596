"""What the verbs share: options that every verb has, and how NAME=DIR is read."""

import shlex
import sys
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from leukonca.errors import UsageError
from leukonca.models.folder import shipped_models


@dataclass(frozen=True)
class Common:
    """Options of every verb."""

    seed: int = 0
    """Everything random follows from this number."""
    quiet: bool = False
    """No progress, no summary; results still go to files."""


CommonOptions = Annotated[Common, tyro.conf.arg(name="")]

Model = Annotated[
    tyro.conf.Positional[str],
    tyro.conf.arg(
        metavar="MODEL",
        help=f"A model folder, or the name of a shipped model: {', '.join(shipped_models()) or 'there is none'}.",
    ),
]
"""What `leukonca.models.folder.find_model` takes."""

Device = Annotated[str, tyro.conf.arg(metavar="cpu|cuda|cuda:N|mps")]
"""Where torch works; another device that torch knows is taken as well."""


def parse(verb: str, function: Callable[..., int], arguments: Sequence[str]) -> int:
    """Call `function` with arguments read from its signature; a wrong call exits with 2, --help with 0."""
    try:
        code: Any = tyro.cli(
            function,
            prog=f"leukonca {verb}",
            args=list(arguments),
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
        )
    except SystemExit as stop:
        return int(stop.code or 0)
    return int(code)


_called_with: ContextVar[Sequence[str]] = ContextVar("called_with", default=())


def remember_call(arguments: Sequence[str]) -> None:
    """Keep the words of this call, to be written into its results."""
    _called_with.set(tuple(arguments))


def command_line() -> str:
    """The command that is running, as it would be typed in a shell."""
    return shlex.join(["leukonca", *_called_with.get()])


def join_repeated(arguments: Sequence[str], option: str) -> list[str]:
    """``--data a --data b`` means ``--data a b``: nothing given twice is lost."""
    kept: list[str] = []
    values: list[str] = []
    collecting, times = False, 0
    for word in arguments:
        if word == option or word.startswith(option + "="):
            times += 1
            collecting = word == option
            values += [] if collecting else [word.partition("=")[2]]
        elif collecting and not word.startswith("-"):
            values.append(word)
        else:
            collecting = False
            kept.append(word)
    return [*kept, option, *values] if times > 1 else list(arguments)


def split_named_folder(text: str) -> tuple[str, Path]:
    """Read ``NAME=DIR``.

    Raises:
        UsageError: there is no equals sign, or nothing on one side of it.
    """
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise UsageError(f"--data {text}: write NAME=DIR, for example acevedo20=../shared/data/acevedo20")
    return name, Path(folder).expanduser()


def say(text: str, *, quiet: bool) -> None:
    """A line for the user, on standard output, unless quiet."""
    if not quiet:
        print(text)
        sys.stdout.flush()
