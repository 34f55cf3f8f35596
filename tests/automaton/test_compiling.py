"""Compiled code is kept where it can be, and nothing fails where it cannot; forked workers compute as their parent."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import leukonca
from leukonca.automaton import compiling

MODULE = """
from leukonca.automaton.compiling import compiled

@compiled
def square(x):
    return x * x

@compiled
def add_squares(x, y):
    return square(x) + square(y)
"""

SCRIPT = """
import json, os, resource, shutil, sys
case, folder = sys.argv[1:]
sys.path.insert(0, folder)
if case == "terminal":
    sys.stderr.isatty = lambda: True
import sums
if case == "removed":
    shutil.rmtree(os.environ["NUMBA_CACHE_DIR"])
if case == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
print(json.dumps([sums.add_squares(3.0, 4.0), sums.add_squares(1, 2), sum(sums.add_squares.stats.cache_hits.values())]))
"""


def run(case: str, folder: Path, **environment: str) -> tuple[list[Any], str]:
    """Two sums of squares and how many functions were found compiled; and what was written to standard error."""
    if not (folder / "sums.py").exists():
        (folder / "sums.py").write_text(MODULE)
    source = str(Path(leukonca.__file__).parents[1])
    known = {"PATH": os.environ["PATH"], "PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": "1"}  # and no HOME
    words = [sys.executable, "-c", SCRIPT, case, str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300, env=known | environment)
    assert done.returncode == 0, done.stderr
    answer: list[Any] = json.loads(done.stdout)
    return answer, done.stderr


def test_what_one_process_compiled_the_next_one_finds_and_only_the_first_says_so(tmp_path: Path) -> None:
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    assert run("terminal", tmp_path, **cache) == ([25.0, 5, 0], compiling.NOTICE + "\n")
    assert run("terminal", tmp_path, **cache) == ([25.0, 5, 2], "")


def test_a_read_only_installation_without_any_writable_cache(tmp_path: Path) -> None:
    """Below a file not even root can write."""
    (tmp_path / "file").touch()
    (tmp_path / "__pycache__").touch()
    nowhere = {"NUMBA_CACHE_DIR": str(tmp_path / "file" / "a"), "XDG_CACHE_HOME": str(tmp_path / "file" / "b")}
    assert run("plain", tmp_path, **nowhere) == ([25.0, 5, 0], "")
    assert run("plain", tmp_path, **nowhere) == ([25.0, 5, 0], "")
    assert {path.name for path in tmp_path.iterdir()} == {"sums.py", "file", "__pycache__"}


@pytest.mark.parametrize("case", ["removed", "full"])
def test_a_cache_that_goes_away_or_fills_up_after_the_import(case: str, tmp_path: Path) -> None:
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    assert run(case, tmp_path, **cache) == ([25.0, 5, 0], "")
    assert run("plain", tmp_path, **cache)[0][:2] == [25.0, 5]  # nothing that is there now does harm
