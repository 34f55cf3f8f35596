"""``leukonca data get``, called in this process."""

from pathlib import Path

import pytest

from leukonca.cli import main

Told = tuple[int, str, str]
"""Exit code, standard output and standard error."""


def told(capsys: pytest.CaptureFixture[str], *words: str | Path) -> Told:
    code = main(["data", "get", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err
