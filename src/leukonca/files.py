"""Files written whole or not at all, and fingerprints of what was read."""

import errno
import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from leukonca.errors import DataError, UsageError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG}


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; it takes the place of ``path`` only if the block succeeds.

    Args:
        path: the file to be; its folder is made if needed. An existing file stays intact until the end.

    Raises:
        UsageError: the folder cannot be made or written to, or ``path`` is a folder.
        DataError: the disk is full; ``path`` is untouched.
        OSError: another failure of the file system; ``path`` is untouched.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise UsageError(f"{path}: is a folder, cannot be written as a file; choose another --out")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _new_beside(path)
    except OSError as error:
        if error.errno in _UNWRITABLE:
            raise UsageError(f"{path}: cannot write there ({error.strerror}); choose another --out") from error
        _check_full(path, error)
        raise
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        _keep_mode(path, temporary)
        temporary.replace(path)
    except OSError as error:
        _check_full(path, error)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _new_beside(path: Path) -> Path:
    """An empty file of another name; who may read it is as for any new file: the user's umask says."""
    while True:
        temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.part")
        with suppress(FileExistsError):
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666))
            return temporary


def _keep_mode(path: Path, temporary: Path) -> None:
    """Whoever may read the file that was there may read what takes its place, and nobody else."""
    with suppress(OSError):  # there was none, or the file system knows no modes
        temporary.chmod(stat.S_IMODE(path.stat().st_mode))


def _check_full(path: Path, error: OSError) -> None:
    if error.errno in _FULL:
        raise DataError(f"{path}: the disk is full, so it was not written; free some space and try again") from error


def why_unwritable(folder: Path) -> str:
    """What keeps files from being written to a folder; empty: nothing.

    Nothing is left behind: a folder that is not there yet is not made, the nearest one above it is tried instead.
    """
    above, missing = Path(folder), []
    try:
        while not above.exists():
            if above.is_symlink():
                return "a link to a folder that is gone"
            missing.append(above.name)
            above = above.parent
        if not above.is_dir():
            return "not a folder"
        for name in missing:
            with suppress(FileNotFoundError):
                os.lstat(above / name)  # refused where a folder of this name could not be made: too long
        with tempfile.TemporaryFile(dir=above):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def check_folder(folder: Path) -> None:
    """Refuse early, before any work is done for nothing, a folder that results cannot be written into.

    Args:
        folder: to be written into later; it need not be there yet, and it is not made here.

    Raises:
        UsageError: it cannot be made or written to, or it is no folder.
    """
    trouble = why_unwritable(folder)
    if trouble:
        raise UsageError(f"{folder}: cannot write there ({trouble}); choose another --out")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all (see `whole_file`); what UTF-8 cannot hold is spelled as by `as_text`."""
    with whole_file(path) as temporary:
        temporary.write_text(as_text(text), encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write strict JSON (NaN is refused), whole or not at all."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """What `write_json` writes."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def as_text(text: str) -> str:
    r"""What UTF-8 can hold of a path: bytes of a file name that are no UTF-8 are spelled ``\xff``."""
    return re.sub("[\ud800-\udfff]", _spelled, text)


def as_line(text: str) -> str:
    """`as_text` with control characters spelled out, too: shown as one line, and doing nothing to a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in as_text(text))


def _spelled(surrogate: re.Match[str]) -> str:
    code = ord(surrogate[0])
    is_byte = 0xDC80 <= code <= 0xDCFF  # as Python keeps undecodable bytes of file names (PEP 383)
    return f"\\x{code - 0xDC00:02x}" if is_byte else f"\\u{code:04x}"


def fingerprint(*parts: Any) -> str:
    """SHA-256, as 64 hex digits, of JSON-able parts; equal parts in equal order give equal digits anywhere."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
