"""How the verbs show tables and lines on standard output, whatever is in a file's name and whoever reads."""

import sys

from rich.console import Console
from rich.text import Text

from leukonca.files import as_line

WIDE = 200
"""Columns of output that goes to no terminal."""


class Screen(Console):
    """Standard output; a file or a pipe gets tables as wide as they are."""

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__(file=sys.stdout, quiet=quiet, width=None if sys.stdout.isatty() else WIDE)

    def on_broken_pipe(self) -> None:
        """Leave it to `leukonca.cli.main`, as any other output does; rich itself would exit with 1."""
        raise BrokenPipeError

    def tell(self, text: str) -> None:
        """A line that is never broken, so that a path stays whole."""
        self.print(plain(text), soft_wrap=True)


def plain(text: str) -> Text:
    """Text as it is: brackets and colons in a name are no markup."""
    return Text(as_line(text))
