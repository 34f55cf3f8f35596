"""How the CPU engine's kernels are compiled: under a name that follows all that they are made of."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from leukonca.automaton._vectors import WIDE
from leukonca.automaton.compiling import compiled

F = TypeVar("F", bound=Callable[..., Any])

FILES = (
    "_blocks.py",
    "_firing.py",
    "_kernels.py",
    "_meeting.py",
    "_perception.py",
    "_stamped.py",
    "_tiles.py",
    "_vectors.py",
)
"""Whose code goes into the kernels: they are compiled into one another."""


def _stamp() -> str:
    """Numba's cache looks at the date and size of a function's own file alone; the instructions it is compiled with,
    how weights are laid out for them, and text of the same date and size must count too, in all files."""
    try:
        texts = [Path(__file__).with_name(name).read_bytes() for name in FILES]
    except OSError:
        texts = [b"unknown"]
    return hashlib.sha256(b"".join([*texts, str(WIDE).encode()])).hexdigest()[:8]


STAMP = _stamp()


def kernel(function: F) -> F:
    """Compile a function that other kernels may call; it takes numbers, addresses and arrays."""
    function.__qualname__ += f"_{STAMP}"
    return compiled(function, nogil=True, fastmath={"contract", "reassoc", "nsz"}, boundscheck=False)
