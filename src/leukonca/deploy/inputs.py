"""Which files a prediction is asked for: files, folders and globs, in the order in which they were given."""

import glob
import os
import re
from collections.abc import Iterable, Iterator

from leukonca.data.images import SUFFIXES
from leukonca.data.walk import walk, walk_images

ANY_DEPTH = re.compile(r"(?P<before>^|[/\\])\*\*(?:[/\\]|$)" if os.name == "nt" else r"(?P<before>^|/)\*\*(?:/|$)")
"""The part of a pattern that stands for folders at any depth."""


def find_inputs(given: Iterable[str]) -> list[str]:
    """Replace folders and globs by the files they stand for.

    A file counts whatever its name, and one that is missing stays in the list, so that its row can say so. A folder
    stands for the image files below it, as in training: links to other folders are followed, hidden ones are left
    out; they come sorted. A folder without any image stays in the list. A glob (``*``, ``?``, ``[...]``, and ``**``
    for folders at any depth) means what a shell makes of it, sorted; after ``**`` only files count, and folders are
    searched as those that are given. What is given twice comes twice.

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
    matches = sorted(set(_matches(text)))
    if ANY_DEPTH.search(text):
        matches = [match for match in matches if not is_folder(match)]
    if not matches:
        yield text  # as a file that is not there, it becomes a row with the reason
    for match in matches:
        yield from _files_of(match)


def _matches(pattern: str) -> Iterator[str]:
    """What a pattern stands for; unlike `glob.glob`, never round in circles where links lead back."""
    found = ANY_DEPTH.search(pattern)
    if found is None:
        yield from glob.glob(pattern)  # noqa: PTH207 (takes absolute patterns, too)
        return
    before, after = pattern[: found.start()] + found["before"], pattern[found.end() :]
    for top in glob.glob(before) if before else [""]:  # noqa: PTH207
        for below, names in walk(top or ".", lambda *_: None):
            if after:
                yield from _matches(glob.escape(top + below) + after)
            else:
                yield from (top + below + name for name in names)


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
