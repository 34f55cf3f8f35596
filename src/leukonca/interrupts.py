"""Ctrl-C and SIGTERM end a program in order, also where Python alone would lose them or hang.

Python raises `KeyboardInterrupt` between any two operations: inside a destructor it is printed and forgotten, inside
the locks of a thread pool it leaves one locked for ever. A handler that remembers the signal mends both, wherever
`raise_if_asked` is called and pools run within `deferred`.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_asked_to_end = False
_deferring = 0


@contextmanager
def taken_over() -> Iterator[None]:
    """While the block runs, handle SIGTERM, and SIGINT where Python would; afterwards all is as before.

    Does nothing outside the main thread, where no signal comes.
    """
    global _asked_to_end
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    _asked_to_end = False
    signal.signal(signal.SIGTERM, _handle)
    if before[signal.SIGINT] is signal.default_int_handler:  # jobs in the background are to ignore it
        signal.signal(signal.SIGINT, _handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _asked_to_end = False


def raise_if_asked() -> None:
    """Raise `KeyboardInterrupt` if the process was asked to end and goes on; called wherever long work turns."""
    if _asked_to_end:
        raise KeyboardInterrupt


@contextmanager
def deferred() -> Iterator[None]:
    """In the main thread: the block is not interrupted by the first signal; `KeyboardInterrupt` comes at its end.

    For blocks that call `raise_if_asked` in their own threads. A second signal interrupts it at once. Only of signals
    that `taken_over` handles: where leukonca is used as a library, they interrupt as Python lets them.
    """
    global _deferring
    if threading.current_thread() is not threading.main_thread():  # signals do not come there
        yield
        return
    _deferring += 1
    try:
        yield
    finally:
        _deferring -= 1
        raise_if_asked()


def _handle(_: int, __: object) -> None:
    global _asked_to_end
    first, _asked_to_end = not _asked_to_end, True
    if not (first and _deferring):
        raise KeyboardInterrupt
