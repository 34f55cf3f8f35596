"""One file over HTTP, resumed where an earlier attempt stopped, and verified by its checksum."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pooch
import requests

from leukonca.data.downloads.connection import BLOCK, REMEDY, TIMEOUT, Cut, check_answer, first_byte, length_of, persist
from leukonca.data.downloads.remote import Remote
from leukonca.errors import DataError, LeukoncaError
from leukonca.progress import Bar, bar

MEGABYTE = 1_000_000

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def fetch(remote: Remote, folder: Path, *, url: str | None = None, quiet: bool = False) -> Path:
    """Have a file in a folder, whole and verified: nothing is fetched if it is there.

    What came before a connection was cut, the disk was full or Ctrl-C was pressed stays beside it, as ``NAME.part``,
    and the next call goes on from there.

    Args:
        remote: the file.
        folder: where it goes.
        url: where it really is, on a mirror; None: as the remote says.
        quiet: no progress bar.

    Returns:
        Its path.

    Raises:
        DataError: it cannot be fetched, or is not what its checksum says; the disk is full.
    """
    part = folder / f"{remote.name}.part"
    resumed = part.exists()
    pooch.get_logger().setLevel("WARNING")
    try:
        path = pooch.retrieve(
            url or remote.url,
            known_hash=remote.checksum,
            fname=remote.name,
            path=folder,
            downloader=Resuming(part, remote.size, quiet=quiet),
        )
    except LeukoncaError:
        raise
    except ValueError as error:  # how pooch says that the checksum is another
        part.unlink(missing_ok=True)
        if resumed:  # the beginning may have been of another file
            return fetch(remote, folder, url=url, quiet=quiet)
        raise DataError(
            f"{url or remote.url}: not what was published (its checksum is not {remote.checksum}), so it was "
            "deleted. A server on the way may have sent a page instead; try again, or another --mirror"
        ) from error
    except OSError as error:
        raise _disk_error(part, error) from error
    part.unlink(missing_ok=True)
    return Path(path)


class Resuming:
    """A downloader for pooch that keeps what it has, and asks a server only for the rest.

    Args:
        part: the file that grows.
        size: of the whole, bytes; None: what the server says.
        quiet: no progress bar.
    """

    def __init__(self, part: Path, size: int | None, *, quiet: bool = False) -> None:
        self._part = part
        self._size = size
        self._quiet = quiet

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        """Fetch `url` into `output_file`.

        Raises:
            DataError: the server refuses, or fails again and again; the disk is full.
        """
        if self._size is not None and self._size_held() > self._size:
            self._part.unlink()
        persist(url, lambda session: self._go_on(session, url), held=self._size_held, kept=self._kept)
        output = Path(output_file)
        output.unlink(missing_ok=True)
        try:
            os.link(self._part, output)  # so that Ctrl-C while the checksum is computed loses nothing
        except OSError:
            self._part.replace(output)

    def _size_held(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _kept(self) -> str:
        held = f"{self._size_held() / MEGABYTE:,.1f}"
        whole = f" of {self._size / MEGABYTE:,.1f}" if self._size else ""
        return f"{held}{whole} MB are kept in {self._part}; the same command goes on from there."

    def _go_on(self, session: requests.Session, url: str) -> None:
        """One request for what is missing, written as it comes."""
        held = self._size_held()
        if held == self._size:
            return
        wanted = {"Range": f"bytes={held}-"} if held else {}
        with session.get(url, headers=wanted, timeout=TIMEOUT, stream=True) as answer:
            if answer.status_code == 416:  # nothing lies beyond what is held
                if answer.headers.get("Content-Range", "").endswith(f"/{held}"):
                    return
                self._part.unlink()
                raise Cut("the server has a shorter file than before")
            check_answer(url, answer)
            goes_on = held > 0 and answer.status_code == 206
            start = first_byte(answer) if goes_on else 0
            if start != (held if goes_on else 0):
                self._part.unlink()
                raise Cut(f"the server went on at byte {start}, not at {held}")
            whole = start + length_of(answer) if length_of(answer) is not None else self._size  # type: ignore[operator]
            if self._size is not None and whole != self._size:
                raise DataError(
                    f"{url}: the server offers {whole:,} bytes, and the record says {self._size:,}; "
                    f"it may be a page of a proxy. {REMEDY}"
                )
            with (
                self._part.open("ab" if goes_on else "wb", buffering=0) as file,
                bar(f"{self._part.stem}, MB", (whole or 0) // MEGABYTE, quiet=self._quiet) as shown,
            ):
                written = _write_all(file, answer.iter_content(BLOCK), start, shown, self._disk_full)
        if whole is not None and written < whole:
            raise Cut(f"the connection was cut after {written:,} of {whole:,} bytes")

    def _disk_full(self, error: OSError) -> DataError:
        return DataError(f"{self._part}: the disk is full. {self._kept()} Free some space first")


def _write_all(file: Any, blocks: Iterator[bytes], start: int, shown: Bar, full: Any) -> int:
    """Write blocks to a raw file; the number of bytes that it then holds."""
    written = start
    shown.advance(written // MEGABYTE)
    for block in blocks:
        try:
            write_block(file, block)
        except OSError as error:
            if error.errno in FULL:
                raise full(error) from error
            raise DataError(f"{file.name}: cannot be written ({error.strerror or error})") from error
        shown.advance((written + len(block)) // MEGABYTE - written // MEGABYTE)
        written += len(block)
    return written


def write_block(file: BinaryIO, block: bytes) -> None:
    """All of a block, though a raw file may take it in parts."""
    rest = memoryview(block)
    while rest:
        rest = rest[file.write(rest) :]


def _disk_error(part: Path, error: OSError) -> DataError:
    if error.errno in FULL:
        return DataError(f"{part.parent}: the disk is full; what was fetched is kept. Free some space, and try again")
    return DataError(f"{error.filename or part}: {error.strerror or error}")
