"""Which files a prediction is asked for: files, folders and globs, in the order in which they were given."""

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from leukonca.data.images import SUFFIXES
from leukonca.data.walk import walk_images


def find_inputs(given: Iterable[str]) -> list[str]:
    """Replace folders and globs by the files they stand for.

    A file counts whatever its name, and one that is missing stays in the list, so that its row can say so. A folder
    stands for the image files below it, as in training: links to other folders are followed, hidden ones are left
    out; they come sorted. A folder without any image stays in the list. A glob (``*``, ``?``, ``[...]``, and ``**``
    for folders at any depth) means what a shell makes of it, sorted; after ``**`` only files count. What is given
    twice comes twice.

    Args:
        given: paths and patterns.

    Returns:
        One path per row to be, spelled as given; a pattern that matches nothing stands for itself.
    """
    return [path for text in given for path in _expand(text)]


def _expand(text: str) -> Iterator[str]:
    if os.path.lexists(text) or not glob.has_magic(text):
        yield from _files_of(text)
        return
    recursive = "**" in Path(text).parts
    matches = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 (takes absolute patterns, too)
    if recursive:
        matches = [match for match in matches if not is_folder(match)]
    if not matches:
        yield text  # as a file that is not there, it becomes a row with the reason
    for match in matches:
        yield from _files_of(match)


def is_folder(path: str) -> bool:
    """Whether it is one, also where `Path.is_dir` would raise: on names too long or without permission to look."""
    return os.path.isdir(path)  # noqa: PTH112


def why_empty(folder: str) -> str:
    """Why `find_inputs` left this folder in its list."""
    try:
        os.listdir(folder)  # noqa: PTH208
    except OSError as error:
        return f"a folder that cannot be read ({error.strerror})"
    return f"a folder without image files ({', '.join(SUFFIXES)})"


def _files_of(path: str) -> list[str]:
    """The images below a folder, and folders in it that cannot be searched; anything else is itself."""
    if not is_folder(path):
        return [path]
    found: list[str] = []
    found += walk_images(path, lambda folder, _: found.append(folder))
    return sorted(os.path.join(path, name) for name in found if name) or [path]  # noqa: PTH118 (spelled as given)
