"""Ctrl-C and SIGTERM end a program in order, wherever they come.

Python raises `KeyboardInterrupt` between any two operations: inside a destructor it is printed and forgotten, inside
the locks of a thread pool it leaves one locked for ever. A handler that remembers the signal mends both.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_asked = False
_later = 0


def take_over() -> None:
    """Handle SIGTERM, and SIGINT where Python would, in this process; only its main thread can."""
    signal.signal(signal.SIGTERM, _handle)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # jobs in the background are to ignore it
        signal.signal(signal.SIGINT, _handle)


def raise_if_asked() -> None:
    """Raise `KeyboardInterrupt` if the process was asked to end and goes on; called wherever long work turns."""
    if _asked:
        raise KeyboardInterrupt


@contextmanager
def later() -> Iterator[None]:
    """In the main thread: the block is not interrupted by the first signal; `KeyboardInterrupt` comes at its end.

    For blocks that call `raise_if_asked` in their own threads. A second signal interrupts at once.
    """
    global _later
    if threading.current_thread() is not threading.main_thread():  # signals do not come there
        yield
        return
    _later += 1
    try:
        yield
    finally:
        _later -= 1
        raise_if_asked()


def _handle(_: int, __: object) -> None:
    global _asked
    first, _asked = not _asked, True
    if not (first and _later):
        raise KeyboardInterrupt
