"""A public center in a folder: fetched, verified, unpacked; a second call changes nothing."""

import errno
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leukonca.data.downloads.connection import read_json
from leukonca.data.downloads.remote import DEFAULT_SIZE, DOWNLOADS, Download, Remote, mirrored
from leukonca.data.downloads.transfer import FULL, fetch
from leukonca.data.downloads.unpack import Contents, checksum, unpack
from leukonca.errors import DataError, UsageError
from leukonca.files import why_unwritable, write_json
from leukonca.locks import only_one
from leukonca.progress import track

STATE = ".leukonca"
"""Hidden folder in a center's own: unfinished downloads, the lock, and what was unpacked."""

FORMAT = 1
"""Of the file that says what was unpacked."""

GROWTH = 1.15
"""Bytes on disk for each byte of an archive of images, with some to spare."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Fetched:
    """What a call did.

    Args:
        files: names of what was fetched; empty: all of it was there and sound.
        folder: that holds the center.
        counted: an earlier call has counted these images, see `note_counted`.
    """

    files: tuple[str, ...]
    folder: Path
    counted: bool


def get_center(
    name: str, folder: Path, *, size: int | None = None, mirror: str | None = None, tell: Tell, quiet: bool = False
) -> Fetched:
    """Have a public center in a folder.

    Every file that is there is verified, and fetched again if it is damaged or missing. An interrupted call keeps
    what it has, and the next one goes on from there. A second process that is called with the same folder waits.

    Args:
        name: a key of `DOWNLOADS`.
        folder: where the center goes; made if needed.
        size: side of BloodMNIST's images, pixels; None: 64.
        mirror: address of a server that stands in for all others (see `mirrored`); None: none.
        tell: called with a line of text whenever there is news.
        quiet: no progress bars.

    Raises:
        UsageError: no such center, one that cannot be fetched, no such size, or a folder that cannot be written to.
        DataError: the network or the disk fails, or a file is not what was published.
    """
    download = find_download(name, size)
    if download.record is None:
        raise UsageError(download.by_hand.format(folder=folder))
    mirrored("https://zenodo.org/", mirror)
    trouble = why_unwritable(folder)
    if trouble:
        raise UsageError(f"{folder}: cannot write there ({trouble}); choose another --to")
    state = folder / STATE
    with _told(state):
        state.mkdir(parents=True, exist_ok=True)
        with only_one(state / "lock", lambda who: tell(f"{folder}: {who} is working on it; waiting for that to end")):
            return _get(download, size or DEFAULT_SIZE, folder, state, mirror, tell, quiet)


def note_counted(name: str, folder: Path, *, size: int | None = None) -> None:
    """Remember that the images of a fetched center are as many as published, so that the next call need not count.

    Raises:
        UsageError: no such center, or no such size.
        DataError: the disk is full or fails.
    """
    state = folder / STATE
    with _told(state), only_one(state / "lock", lambda _: None):
        unpacked, counted = _read_state(state)
        _write_state(state, unpacked, counted | {*find_download(name, size).files(size or DEFAULT_SIZE)})


def find_download(name: str, size: int | None = None) -> Download:
    """How a center is fetched.

    Raises:
        UsageError: no such center, or no such size of it.
    """
    if name not in DOWNLOADS:
        raise UsageError(f"data get {name}: there are {', '.join(DOWNLOADS)} to fetch")
    sizes = DOWNLOADS[name].sizes
    if size is not None and size not in sizes:
        there = f"there are {', '.join(map(str, sizes))}" if sizes else "its images have the size they were taken in"
        raise UsageError(f"data get {name}: no size {size}; {there}")
    return DOWNLOADS[name]


def _get(
    download: Download, size: int, folder: Path, state: Path, mirror: str | None, tell: Tell, quiet: bool
) -> Fetched:
    for debris in state.glob("tmp*"):  # pooch's, of a process that was killed; the part is still beside it
        debris.unlink(missing_ok=True)
    unpacked, counted = _read_state(state)
    wanted = {}
    for name in download.files(size):
        trouble = _trouble(folder, name, unpacked.get(name), quiet)
        if trouble is not None:
            wanted[name] = trouble
    if not wanted:
        return Fetched((), folder, counted.issuperset(download.files(size)))
    for name, trouble in wanted.items():
        if trouble:
            tell(f"{trouble}; fetching {name} again")
    if download.record is None:
        raise UsageError(download.by_hand.format(folder=folder))
    listed = download.record(size, lambda url: read_json(mirrored(url, mirror)))
    remotes = [remote for remote in listed if remote.name in wanted]
    _check_room(folder, state, remotes)
    for remote in remotes:
        archive = fetch(remote, state, url=mirrored(remote.url, mirror), quiet=quiet)
        if remote.archive:
            contents = unpack(archive, folder, state / "unpacking", below=remote.folder, quiet=quiet)
        else:
            contents = {remote.name: checksum(archive)}
            archive.replace(folder / remote.name)
        unpacked[remote.name] = contents
        counted -= {remote.name}
        _write_state(state, unpacked, counted)
        archive.unlink(missing_ok=True)
        tell(f"{remote.name}: {len(contents):,} file{'' if len(contents) == 1 else 's'}, verified")
    return Fetched(tuple(wanted), folder, counted=False)


def _trouble(folder: Path, name: str, contents: Contents | None, quiet: bool) -> str | None:
    """What is wrong with the files of an archive: a sentence, empty where it was never there; None: nothing."""
    if contents is None:
        return ""
    for path, stated in track(contents.items(), f"verifying {name}", len(contents), quiet=quiet):
        try:
            if checksum(folder / path) != tuple(stated):
                return f"{folder / path}: damaged"
        except OSError as error:
            return f"{folder / path}: {'missing' if error.errno == errno.ENOENT else error.strerror}"
    return None


def _read_state(state: Path) -> tuple[dict[str, Any], set[str]]:
    """What was unpacked and what was counted, as far as that is known; whatever is not is done again."""
    try:
        facts = json.loads((state / "unpacked.json").read_text(encoding="utf-8"))
        if facts["format"] != FORMAT:
            return {}, set()
        unpacked = {
            str(name): {str(path): (int(size), int(crc)) for path, (size, crc) in contents.items()}
            for name, contents in facts["files"].items()
        }
        return unpacked, {str(name) for name in facts.get("counted", ())}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}, set()


def _write_state(state: Path, unpacked: dict[str, Any], counted: set[str]) -> None:
    write_json(state / "unpacked.json", {"format": FORMAT, "files": unpacked, "counted": sorted(counted)})


def _check_room(folder: Path, state: Path, remotes: Iterable[Remote]) -> None:
    """Refuse before hours of downloading what will not fit."""
    known = [remote for remote in remotes if remote.size is not None]
    if not known:
        return
    sizes = {remote.name: remote.size or 0 for remote in known}
    held = sum(path.stat().st_size for path in state.glob("*") if path.name.removesuffix(".part") in sizes)
    needed = sum(sizes.values()) * GROWTH + max(sizes.values()) - held
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DataError(
            f"{folder}: {needed / 1e9:.1f} GB are needed there, and {free / 1e9:.1f} GB are free; "
            "free some space, or choose another disk with --to"
        )


@contextmanager
def _told(state: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise DataError(
                f"{state.parent}: the disk is full; what was fetched is kept in {state}. "
                "Free some space, and give the same command again"
            ) from error
        raise DataError(f"{error.filename or state}: {error.strerror or error}") from error
