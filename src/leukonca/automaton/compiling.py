"""Compiled once on every machine and kept beside the code, or wherever the user may write; if nowhere, not kept."""

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import numba
from numba.core.caching import FunctionCache

F = TypeVar("F", bound=Callable[..., Any])

NOTICE = "leukonca: compiling the automaton for this processor; this happens once and takes some seconds ..."

_told = False


def compiled(function: F, **options: Any) -> F:
    """`numba.njit` with a cache that can only help: where it cannot be written, each process compiles for itself.

    The first function of a process that must be compiled says so, on a terminal.

    Args:
        function: what to compile.
        options: of `numba.njit`.
    """
    dispatcher: Any = numba.njit(**options)(function)
    with suppress(RuntimeError):  # no folder at all is writable
        dispatcher._cache = _cache_of(function)  # what `cache=True` does, with a cache of our own
    result: F = dispatcher
    return result


class _Cache(FunctionCache):
    """Numba's cache, for which a full disk is no error, and which tells when it has nothing."""

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        found = None
        with suppress(OSError):
            found = super().load_overload(signature, target_context)  # type: ignore[no-untyped-call]
        if found is None:
            _tell()
        return found

    def save_overload(self, signature: Any, data: Any) -> None:
        with suppress(OSError):
            super().save_overload(signature, data)  # type: ignore[no-untyped-call]


def _cache_of(function: Any) -> _Cache:
    return _Cache(function)  # type: ignore[no-untyped-call]


def _tell() -> None:
    global _told
    if not _told and sys.stderr is not None and sys.stderr.isatty():
        print(NOTICE, file=sys.stderr, flush=True)
    _told = True
