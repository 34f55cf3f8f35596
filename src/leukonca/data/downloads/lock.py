"""One process at a time in a folder. The system itself lets go of the lock of a process that is gone."""

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

POLL_SECONDS = 0.2

if sys.platform == "win32":
    import msvcrt

    def _take(file: BinaryIO) -> bool:
        file.seek(1 << 20)  # beyond what is written, which others may read meanwhile
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _release(file: BinaryIO) -> None:
        file.seek(1 << 20)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
else:
    import fcntl

    def _take(file: BinaryIO) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _release(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)


@contextmanager
def only_one(path: Path, busy: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock while inside; wait for another process that holds it.

    The file itself means nothing and stays: a process that was killed leaves no lock behind, because the lock is
    the system's and not the file's.

    Args:
        path: the lock's file; its folder exists.
        busy: called once, with words that say who holds the lock, before waiting.
    """
    with path.open("ab+") as file:
        told = False
        while not _take(file):
            if not told:
                busy(_holder(path))
                told = True
            time.sleep(POLL_SECONDS)
        try:
            with suppress(OSError):  # a full disk: the words are only for people
                file.truncate(0)
                file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
                file.flush()
            yield
        finally:
            with suppress(OSError):
                file.truncate(0)
            _release(file)


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")[:200] or "another process"
    except OSError:
        return "another process"
