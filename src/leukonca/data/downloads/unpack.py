"""Zip archives unpacked so that nothing in them can do harm: no path leaves the folder, no link, no bomb."""

import shutil
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from leukonca.errors import DataError
from leukonca.progress import bar

Contents = Mapping[str, tuple[int, int]]
"""Path below the folder, forward slashes -> bytes and CRC-32 of the file."""

LARGEST_GROWTH = 4
"""Archives of images hardly shrink them; one that would grow more than this, and by more than the slack, is a bomb."""

SLACK = 64_000_000

MOST_ENTRIES = 200_000

LITTER = {"thumbs.db", "desktop.ini"}
BLOCK = 1 << 20
ENCRYPTED = 0x1


def unpack(archive: Path, folder: Path, workshop: Path, *, below: str = "", quiet: bool = False) -> Contents:
    """Unpack a zip archive into a folder; files of the same name are replaced.

    Folders that all files of the archive share are left away. Hidden files, ``__MACOSX`` and other litter of
    systems are left out. Everything is unpacked in the workshop first, so that a damaged or hostile archive, a full
    disk or Ctrl-C leaves the folder as it was.

    Args:
        archive: the zip file.
        folder: where its files go.
        workshop: a folder on the same disk for unfinished files; it is emptied.
        below: name of a folder in `folder` that they go into; empty: none.
        quiet: no progress bar.

    Returns:
        What was unpacked.

    Raises:
        DataError: the archive is damaged, encrypted, or holds what no data set needs: paths that lead out of the
            folder, links, names that stand twice, far more bytes than it has itself.
        OSError: the disk is full, or another failure of the file system.
    """
    shutil.rmtree(workshop, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = _wanted(archive, opened.infolist())
            names = _final_names([PurePosixPath(entry.filename) for entry in entries], below)
            contents = {}
            with bar(f"unpacking {archive.name}", len(entries), quiet=quiet) as shown:
                for entry, name in zip(entries, names, strict=True):
                    contents[name] = _unpack_one(archive, opened, entry, workshop / name)
                    shown.advance()
        for name in contents:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (workshop / name).replace(folder / name)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeError) as error:
        raise DataError(f"{archive}: damaged, cannot be unpacked ({error}); fetch it again") from error
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    return contents


def checksum(path: Path) -> tuple[int, int]:
    """Bytes and CRC-32 of a file, as an archive states them."""
    size = crc = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            size += len(block)
            crc = zlib.crc32(block, crc)
    return size, crc


def _wanted(archive: Path, entries: Sequence[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    """The entries to unpack; an archive with a single bad one is refused as a whole."""
    if len(entries) > MOST_ENTRIES:
        raise DataError(f"{archive}: refused: {len(entries):,} entries are no set of images")
    kept: list[zipfile.ZipInfo] = []
    seen: set[str] = set()
    for entry in entries:
        trouble = _trouble(entry)
        if trouble:
            raise DataError(f"{archive}: refused: {entry.filename!r} {trouble}; get it from a source that you trust")
        if entry.is_dir() or _is_litter(entry.filename):
            continue
        same = unicodedata.normalize("NFC", entry.filename).casefold()  # one file to some systems
        if same in seen:
            raise DataError(f"{archive}: refused: {entry.filename!r} stands in it twice")
        seen.add(same)
        kept.append(entry)
    for same in seen:
        folders = [same[:i] for i, letter in enumerate(same) if letter == "/"]
        if not seen.isdisjoint(folders):
            raise DataError(f"{archive}: refused: {same!r} lies in a folder that is also a file")
    total = sum(entry.file_size for entry in kept)
    if total > LARGEST_GROWTH * archive.stat().st_size + SLACK:
        raise DataError(f"{archive}: refused: its {archive.stat().st_size:,} bytes would become {total:,}, a zip bomb")
    if not kept:
        raise DataError(f"{archive}: holds no file")
    return kept


def _trouble(entry: zipfile.ZipInfo) -> str:
    """Why an entry must not be unpacked; empty: it may."""
    name = entry.orig_filename  # zipfile itself cuts names at a NUL, and turns backslashes on Windows
    parts = name.rstrip("/").split("/")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if entry.flag_bits & ENCRYPTED:
        return "is encrypted"
    if name.startswith("/") or "\\" in name or "\0" in name or ":" in name:
        return "is no relative path"
    if any(part in ("", ".", "..") for part in parts):
        return "would leave the folder"
    if kind == stat.S_IFLNK:
        return "is a link"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is no file"
    return ""


def _is_litter(name: str) -> bool:
    parts = name.split("/")
    return "__MACOSX" in parts or any(part.startswith(".") for part in parts) or parts[-1].lower() in LITTER


def _final_names(paths: Sequence[PurePosixPath], below: str) -> list[str]:
    shared = 0
    while all(len(path.parts) > shared + 1 and path.parts[shared] == paths[0].parts[shared] for path in paths):
        shared += 1
    return [str(PurePosixPath(below, *path.parts[shared:])) for path in paths]


def _unpack_one(archive: Path, opened: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> tuple[int, int]:
    """Write one entry, never more of it than it states; zipfile itself checks its CRC-32."""
    target.parent.mkdir(parents=True, exist_ok=True)
    left = entry.file_size
    with opened.open(entry) as source, target.open("xb") as file:
        while block := source.read(BLOCK):
            left -= len(block)
            if left < 0:
                raise DataError(f"{archive}: refused: {entry.filename!r} is larger than it states")
            file.write(block)
    if left:
        raise DataError(f"{archive}: damaged: {entry.filename!r} is shorter than it states; fetch it again")
    return entry.file_size, entry.CRC
