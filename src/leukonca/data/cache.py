"""Decoded images kept on disk between runs: one memory-mapped array and one small JSON file beside it.

The JSON file is written last, so that an entry without it is unfinished. An entry is named after its folder and
settings (the slot) and after the state of the files (the key): when a file changes, the key does, and the new
entry takes the place of the old one.
"""

import contextlib
import errno
import json
import os
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import platformdirs
from numpy.typing import NDArray

from leukonca.errors import DataError
from leukonca.files import whole_file, write_json

FORMAT = 1
"""Raised whenever what is stored, or how it is made, changes."""

STALE_SECONDS = 6 * 3600
"""A half-written file this old was left by a process that was killed."""

UNUSED_SECONDS = 90 * 24 * 3600
"""An entry that no run has asked for in so long goes when another is written: its folder may be gone."""

_ANY = f"cells-{'[0-9a-f]' * 24}-{'[0-9a-f]' * 24}"
"""Matches the names of all entries, of whatever folder and settings."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Decoded:
    """One file after decoding.

    Args:
        image: uint8 [side, side, 3]; None: the file cannot be used.
        digest: SHA-256 of the file's bytes, 64 hex digits; empty where they cannot be read.
        reason: why the file cannot be used; empty where it can.
    """

    image: NDArray[np.uint8] | None
    digest: str
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Entry:
    """All usable images of a folder, and what was found on the way.

    Args:
        images: uint8 [N, side, side, 3], read-only.
        digests: one per file that was asked for, usable or not.
        reasons: one per file that was asked for; empty where the file is usable.
    """

    images: NDArray[np.uint8]
    digests: tuple[str, ...]
    reasons: tuple[str, ...]


def cache_folder(chosen: Path | None = None) -> Path:
    """The chosen folder, else that of the environment variable LEUKONCA_CACHE, else the user's cache folder."""
    if chosen is not None:
        return Path(chosen)
    named = os.environ.get("LEUKONCA_CACHE")
    return Path(named).expanduser() if named else platformdirs.user_cache_path("leukonca", appauthor=False)


class Cache:
    """One entry of the cache, there or not.

    Args:
        folder: the cache folder.
        slot: names the folder of images and the settings, hex digits.
        key: names the state of all the files as well, hex digits.
        count: how many files the entry is about.
        side: side of its squares, pixels.
    """

    def __init__(self, folder: Path, *, slot: str, key: str, count: int, side: int) -> None:
        self._folder = folder
        self._slot = f"cells-{slot[:24]}"
        self._stem = f"{self._slot}-{key[:24]}"
        self._array = folder / f"{self._stem}.npy"
        self._facts = folder / f"{self._stem}.json"
        self._count = count
        self._side = side

    def load(self) -> Entry | None:
        """The entry, or None where it is missing, unfinished, truncated, damaged or unreadable."""
        try:
            facts: dict[str, Any] = json.loads(self._facts.read_text(encoding="utf-8"))
            images = np.load(self._array, mmap_mode="r", allow_pickle=False)
            digests, reasons = tuple(facts["digests"]), tuple(facts["reasons"])
            sound = (
                facts["format"] == FORMAT
                and len(digests) == len(reasons) == self._count
                and images.dtype == np.uint8
                and images.shape == (reasons.count(""), self._side, self._side, 3)
                and self._array.stat().st_size == facts["bytes"]
                and _trace(images) == facts["trace"]
            )
        except (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError):
            return None
        if not sound:
            return None
        with contextlib.suppress(OSError):  # a cache that cannot be written may still be read
            os.utime(self._facts)
        return Entry(images, digests, reasons)

    def store(self, decoded: Iterator[Decoded]) -> Entry:
        """Write the entry, whole or not at all; entries of the same slot in another state are removed.

        Raises:
            DataError: the disk is full, or writing fails in another way.
        """
        try:
            with whole_file(self._array) as temporary:
                with temporary.open("r+b") as file:
                    digests, reasons = self._write(file, decoded)
                # Opened before it gets its name: another process may replace or remove the name at any time.
                images = np.load(temporary, mmap_mode="r", allow_pickle=False)
                facts = {
                    "format": FORMAT,
                    "bytes": temporary.stat().st_size,
                    "trace": _trace(images),
                    "digests": digests,
                    "reasons": reasons,
                }
            write_json(self._facts, facts)
        except (OSError, DataError) as error:  # DataError: a full disk, as `whole_file` tells it
            with contextlib.suppress(OSError):
                self._array.unlink(missing_ok=True)
            raise DataError(self._write_failure(error)) from error
        self._clean()
        return Entry(images, tuple(digests), tuple(reasons))

    def _write(self, file: IO[bytes], decoded: Iterator[Decoded]) -> tuple[list[str], list[str]]:
        digests, reasons = [], []
        header = _header(self._count, self._side)
        file.write(header)
        for one in decoded:
            digests.append(one.digest)
            reasons.append(one.reason)
            if one.image is not None:
                file.write(one.image.tobytes())
        usable = reasons.count("")
        if usable != self._count:
            file.seek(0)
            file.write(_header(usable, self._side))
        return digests, reasons

    def _write_failure(self, error: OSError | DataError) -> str:
        megabytes = self._count * self._side**2 * 3 / 1e6
        fact = "the disk is full"
        if isinstance(error, OSError) and error.errno not in FULL:
            fact = error.strerror or str(error)
        return (
            f"{self._folder}: {fact}, the decoded images need {megabytes:.0f} MB there; "
            "free some space, or set LEUKONCA_CACHE to a folder on another disk"
        )

    def _clean(self) -> None:
        """Remove what this entry replaces, and what nobody uses. Failing to is harmless: another process may have been
        faster."""
        with contextlib.suppress(OSError):
            for path in self._folder.glob(f"{self._slot}-*"):
                if not path.name.startswith(self._stem):
                    path.unlink(missing_ok=True)
            for path in self._folder.glob(f".{_ANY}.*.part"):
                if _age(path) > STALE_SECONDS:
                    path.unlink(missing_ok=True)
            for array in self._folder.glob(f"{_ANY}.npy"):
                facts = array.with_suffix(".json")
                if _age(facts if facts.exists() else array) > UNUSED_SECONDS:
                    facts.unlink(missing_ok=True)
                    array.unlink(missing_ok=True)


def _age(path: Path) -> float:
    """Seconds since a file was written or, as `Cache.load` notes, used."""
    return time.time() - path.stat().st_mtime


def _header(count: int, side: int) -> bytes:
    """A .npy header, 128 bytes whatever the count, so that it can be written again when files were skipped."""
    facts = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({count}, {side}, {side}, 3), }}"
    return b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + facts.ljust(117).encode() + b"\n"


def _trace(images: NDArray[np.uint8]) -> int:
    """A checksum over the middle row of every image: sees a part that was never written, without reading all."""
    rows = images[:, images.shape[1] // 2] if len(images) else np.zeros(0, np.uint8)
    return zlib.crc32(np.ascontiguousarray(rows).tobytes())
