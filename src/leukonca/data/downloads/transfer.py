"""One file over HTTP, resumed where an earlier attempt stopped, and verified by its checksum."""

import errno
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pooch
import requests

from leukonca import __version__
from leukonca.data.downloads.remote import Remote
from leukonca.errors import DataError, LeukoncaError
from leukonca.progress import Bar, bar

TIMEOUT = (20, 60)
"""Seconds until a connection stands, and between two pieces of an answer."""

BLOCK = 1 << 18
MEGABYTE = 1_000_000

ATTEMPTS = 5
"""In a row without a single new byte, before giving up."""

LONGEST_WAIT = 60.0
"""Seconds between two attempts, whatever the server wishes."""

PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Answers that may be another in a moment."""

LARGEST_RECORD = 10_000_000
"""Bytes of a list of files; more is none."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

REMEDY = "Check the network; a proxy is named by HTTPS_PROXY, a mirror by --mirror or LEUKONCA_MIRROR"


class _Cut(Exception):  # noqa: N818 - an event, not an error, until it has come too often
    """The connection failed in a way that may pass.

    Args:
        reason: for people.
        wait: seconds that the server asks for.
    """

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


def read_json(url: str) -> Any:
    """What a public address holds, parsed.

    Raises:
        DataError: the server cannot be reached, has nothing there, or sends no JSON.
    """

    def once(session: requests.Session) -> Any:
        with session.get(url, timeout=TIMEOUT, stream=True) as answer:
            _check_answer(url, answer)
            text = b"".join(_up_to(answer.iter_content(BLOCK), LARGEST_RECORD))
        try:
            return json.loads(text)
        except ValueError as error:
            raise DataError(f"{url}: not the list of files that was expected ({error}). {REMEDY}") from error

    failures = 0
    with _session() as session:
        while True:
            try:
                with _cuts():
                    return once(session)
            except _Cut as cut:
                failures += 1
                if failures >= ATTEMPTS:
                    raise DataError(f"{url}: {cut}. {REMEDY}") from cut
                _wait(failures, cut)


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
        if self._size is not None and self._held > self._size:
            self._part.unlink()
        failures = 0
        with _session() as session:
            while True:
                before = self._held
                try:
                    with _cuts():
                        self._go_on(session, url)
                    break
                except _Cut as cut:
                    failures = 1 if self._held > before else failures + 1
                    if failures >= ATTEMPTS:
                        raise DataError(f"{url}: {cut}. {self._kept()} {REMEDY}") from cut
                    _wait(failures, cut)
        output = Path(output_file)
        output.unlink(missing_ok=True)
        try:
            os.link(self._part, output)  # so that Ctrl-C while the checksum is computed loses nothing
        except OSError:
            self._part.replace(output)

    @property
    def _held(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _kept(self) -> str:
        whole = f" of {self._size / MEGABYTE:,.1f}" if self._size else ""
        return f"{self._held / MEGABYTE:,.1f}{whole} MB are kept in {self._part}; the same command goes on from there."

    def _go_on(self, session: requests.Session, url: str) -> None:
        """One request for what is missing, written as it comes."""
        held = self._held
        if held == self._size:
            return
        wanted = {"Range": f"bytes={held}-"} if held else {}
        with session.get(url, headers=wanted, timeout=TIMEOUT, stream=True) as answer:
            if answer.status_code == 416:  # nothing lies beyond what is held
                if answer.headers.get("Content-Range", "").endswith(f"/{held}"):
                    return
                self._part.unlink()
                raise _Cut("the server has a shorter file than before")
            _check_answer(url, answer)
            goes_on = held > 0 and answer.status_code == 206
            start = _first_byte(answer) if goes_on else 0
            if start != (held if goes_on else 0):
                self._part.unlink()
                raise _Cut(f"the server went on at byte {start}, not at {held}")
            whole = start + _length(answer) if _length(answer) is not None else self._size  # type: ignore[operator]
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
            raise _Cut(f"the connection was cut after {written:,} of {whole:,} bytes")

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


def _session() -> requests.Session:
    session = requests.Session()
    session.headers["User-Agent"] = f"leukonca/{__version__}"
    session.headers["Accept-Encoding"] = "identity"  # bytes as they are on the server, or no range would fit
    return session


@contextmanager
def _cuts() -> Iterator[None]:
    """Whatever goes wrong between here and the server is a cut; an address that cannot be meant is an error."""
    try:
        yield
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema) as e:
        raise DataError(f"{e}. {REMEDY}") from e
    except requests.exceptions.Timeout as error:
        raise _Cut("the server does not answer in time") from error
    except requests.exceptions.ProxyError as error:
        raise _Cut("the proxy cannot be reached") from error
    except requests.exceptions.SSLError as error:
        raise _Cut("the connection is not secure (the certificate cannot be verified)") from error
    except requests.exceptions.ChunkedEncodingError as error:
        raise _Cut("the connection was cut") from error
    except requests.exceptions.RequestException as error:
        raise _Cut("the server cannot be reached, or closed the connection") from error


def _check_answer(url: str, answer: requests.Response) -> None:
    told = f"the server answered {answer.status_code} ({answer.reason})"
    if answer.status_code in PASSING:
        asked = answer.headers.get("Retry-After", "")
        raise _Cut(told, float(asked) if re.fullmatch(r"\d{1,6}", asked) else 0.0)
    if answer.status_code not in (200, 206):
        raise DataError(f"{url}: {told}. {REMEDY}")


def _length(answer: requests.Response) -> int | None:
    told = answer.headers.get("Content-Length", "")
    return int(told) if re.fullmatch(r"\d{1,18}", told) else None


def _first_byte(answer: requests.Response) -> int:
    told = re.fullmatch(r"bytes (\d{1,18})-.*", answer.headers.get("Content-Range", ""))
    return int(told[1]) if told else -1


def _up_to(blocks: Iterator[bytes], most: int) -> Iterator[bytes]:
    for block in blocks:
        most -= len(block)
        if most < 0:
            raise DataError("the server sends a list of files without end")
        yield block


def _wait(failures: int, cut: _Cut) -> None:
    time.sleep(min(LONGEST_WAIT, max(2.0 ** (failures - 1), cut.wait)))


def _disk_error(part: Path, error: OSError) -> DataError:
    if error.errno in FULL:
        return DataError(f"{part.parent}: the disk is full; what was fetched is kept. Free some space, and try again")
    return DataError(f"{error.filename or part}: {error.strerror or error}")
