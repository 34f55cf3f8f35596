"""The image files below a folder, wherever links lead, and never round in circles."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from leukonca.data.images import SUFFIXES


def walk_images(folder: str, closed: Callable[[str, OSError], None]) -> Iterator[str]:
    """Files with the ending of an image (`SUFFIXES`), in no order; hidden ones and ``__MACOSX`` do not count.

    Links to folders are followed, except back to a folder that they are in.

    Args:
        folder: where to look, at any depth.
        closed: called with the relative path (empty: `folder` itself) and the error of a folder that cannot be read;
            the walk goes on when it returns.

    Yields:
        Paths relative to `folder`, with forward slashes.
    """
    for prefix, names in walk(folder, closed):
        yield from (prefix + name for name in names if name.lower().endswith(SUFFIXES))


def walk(folder: str, closed: Callable[[str, OSError], None]) -> Iterator[tuple[str, list[str]]]:
    """A folder and those below it, each with the names of its files; otherwise as `walk_images`.

    Yields:
        What leads from `folder` to each, empty or ending with a slash; and names, in no order.
    """
    yield from _walk(folder, "", (), closed)


def _walk(
    folder: str, prefix: str, above: tuple[tuple[int, int], ...], closed: Callable[[str, OSError], None]
) -> Iterator[tuple[str, list[str]]]:
    try:
        status = Path(folder).stat()
        here = (status.st_dev, status.st_ino)
        if here in above:  # a link back to a folder above: a loop
            return
        with os.scandir(folder) as found:
            entries = [entry for entry in found if not entry.name.startswith(".") and entry.name != "__MACOSX"]
    except OSError as error:
        closed(prefix.removesuffix("/"), error)
        return
    folders, names = list[os.DirEntry[str]](), list[str]()
    for entry in entries:
        if _is_folder(entry):
            folders.append(entry)
        else:
            names.append(entry.name)
    yield prefix, names
    for entry in folders:
        yield from _walk(entry.path, f"{prefix}{entry.name}/", (*above, here), closed)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads in a circle; read as a file, it says so
        return False
