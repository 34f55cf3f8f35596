"""One process at a time in a folder. The system itself lets go of the lock of a process that is gone."""

import errno
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

POLL_SECONDS = 0.2

_WITHOUT_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}
"""What file systems answer that know no locks: nobody can be kept out of them, and nobody is kept from work."""

if sys.platform == "win32":
    import msvcrt

    INHERITED = False
    """Whether a child process that is given the lock's descriptor holds the lock, too."""

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

    INHERITED = True
    """Whether a child process that is given the lock's descriptor holds the lock, too."""

    def _take(file: BinaryIO) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                raise
        return True

    def _release(file: BinaryIO) -> None:
        """Nothing: closing the file lets go, unless a child process holds it still; unlocking would end that, too."""


@contextmanager
def only_one(path: Path, busy: Callable[[str], None], *, remove: bool = False) -> Iterator[int]:
    """Hold a lock while inside; where another process holds it, say so, and wait for its end or refuse.

    The file itself means nothing: a process that was killed leaves no lock behind, because the lock is the system's
    and not the file's.

    Args:
        path: the lock's file; its folder is made if needed.
        busy: called once, with words that say who holds the lock, before waiting; what it raises ends the waiting.
        remove: take the file away at the end. Not where a child process may outlive this one with the descriptor.

    Yields:
        The file's descriptor; see `INHERITED`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    told = False
    while True:
        with path.open("ab+") as file:
            if not _take(file):
                if not told:
                    busy(_holder(path))
                    told = True
                time.sleep(POLL_SECONDS)
                continue
            if not _is_still(path, file):  # another process took the file away when it let go
                continue
            try:
                with suppress(OSError):  # a full disk: the words are only for people
                    file.truncate(0)
                    file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
                    file.flush()
                yield file.fileno()
            finally:
                with suppress(OSError):
                    file.truncate(0)
                    if remove:
                        path.unlink()
                _release(file)
            return


def _is_still(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")[:200] or "another process"
    except OSError:
        return "another process"
