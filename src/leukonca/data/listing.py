"""Which image files a center's folder holds, and the label of each by the center's own rule."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from leukonca.data.centers import CENTERS, Center, find_center
from leukonca.data.images import SUFFIXES
from leukonca.data.medmnist import find_archive, is_archive, list_archive
from leukonca.data.walk import walk_images
from leukonca.errors import DataError
from leukonca.taxonomy import CLASSES

NAMED = 10
"""How many offending files a message names before it counts the rest."""


@dataclass(frozen=True, eq=False)
class Listing:
    """The labelled files of one center; nothing is decoded yet.

    Args:
        center: whose rule gave the labels.
        root: the folder that `paths` are relative to.
        paths: files with a class, relative, forward slashes, in code-point order.
        labels: int64 [N], position in ``center.comprises``.
        own_labels: the center's own label of each path.
        dropped: own label -> files that were left out because the label has no place among the classes.
        unmatched: files that no rule of the center matches; empty unless they were skipped on purpose.
        archive: the one file that holds all images; None: they are files.
    """

    center: Center
    root: Path
    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    own_labels: tuple[str, ...]
    dropped: Mapping[str, int]
    unmatched: tuple[str, ...]
    archive: Path | None = None


def list_images(name: str | Center, directory: Path, *, unmatched: Literal["error", "skip"] = "error") -> Listing:
    """Find a center's images and label each by an explicit rule.

    Args:
        name: a key of `CENTERS`, or a center of one's own.
        directory: the center's folder; extra folders above the published ones are fine.
        unmatched: what happens to image files that no rule matches.

    Raises:
        UsageError: no such center.
        DataError: the folder is missing, holds no usable image, an empty class folder (center ``folder``), or
            files that no rule matches.
    """
    center = find_center(name)
    root = Path(directory)
    archive, found = find_source(center, root)
    own = {path: center.own_label(path) for path in found}
    strangers = tuple(path for path in found if own[path] is None)
    if center.name == "folder":
        _check_class_folders(center, root, found, unmatched)
    if strangers and unmatched == "error":
        raise DataError(_unmatched_message(center, root, strangers))
    paths, own_labels, dropped = [], [], Counter[str]()
    for path, label in own.items():
        if label is None:
            continue
        if center.labels[label] is None:
            dropped[label] += 1
        else:
            paths.append(path)
            own_labels.append(label)
    if not paths:
        raise DataError(
            f"{root}: none of its {len(found)} images has a label of center {center.name}; is it another center?"
        )
    order = tuple(center.comprises)
    position = {label: order.index(kept) for label, kept in center.labels.items() if kept is not None}
    labels = np.array([position[label] for label in own_labels], dtype=np.int64)
    labels.setflags(write=False)
    return Listing(center, root, tuple(paths), labels, tuple(own_labels), dict(dropped), strangers, archive)


def find_source(center: Center, directory: Path) -> tuple[Path | None, tuple[str, ...]]:
    """The one file that holds a center's images, if it keeps them so, and the paths of all images.

    Raises:
        DataError, UsageError: see `find_images`, `find_archive` and `list_archive`.
    """
    if not center.in_one_file:
        return None, find_images(directory)
    archive = find_archive(directory)
    return archive, list_archive(archive, tuple(center.labels))


def find_images(directory: Path) -> tuple[str, ...]:
    """All image files at or below a folder, in the same order on every file system.

    Files count by their ending (`SUFFIXES`); hidden files and folders and ``__MACOSX`` do not.

    Returns:
        Relative paths with forward slashes, in code-point order.

    Raises:
        DataError: the folder is missing, cannot be read, or holds no image.
    """
    directory = Path(directory)
    if not directory.exists():
        raise DataError(f"{directory}: no such folder")
    if not directory.is_dir():
        raise DataError(f"{directory}: not a folder")

    def closed(folder: str, error: OSError) -> None:
        raise DataError(f"{directory / folder}: cannot be read ({error.strerror})") from error

    found = tuple(sorted(walk_images(str(directory), closed)))
    if not found:
        raise DataError(f"{directory}: no images in it or below it (looked for {', '.join(SUFFIXES)})")
    return found


def detect_center(directory: Path) -> Center:
    """The center whose rule gives a label to most of a folder's images.

    Where every image lies in a folder named after one of the 13 classes, that is center ``folder``. Otherwise,
    labels that are codes (``BA``, ``NGS``) are in a file's path by no accident and go before labels that are words;
    of equals, ``folder`` is taken.

    Raises:
        DataError: the folder cannot be used (see `find_images`), or no center's rule matches most of its images.
    """
    if is_archive(directory):
        return CENTERS["bloodmnist"]
    found = find_images(directory)
    matched = {name: sum(center.own_label(path) is not None for path in found) for name, center in CENTERS.items()}
    likely = [center for center in CENTERS.values() if matched[center.name] > len(found) / 2]
    if not likely:
        raise DataError(
            f"{directory}: no center's labels match most of its {len(found)} images "
            f"({', '.join(f'{name} {count}' for name, count in matched.items())}). Name the center, or, for your own "
            f"cells, name each subfolder after one of the 13 classes: {', '.join(CLASSES)}"
        )
    if matched["folder"] == len(found):  # folders named after the classes say what their owner means by them
        return CENTERS["folder"]
    coded = [center for center in likely if all(label.isupper() for label in center.labels)]
    return max(coded or likely, key=lambda center: (matched[center.name], center.name == "folder"))


def named(items: Iterable[str]) -> str:
    """The first few of many, and how many more there are, for a message."""
    items = tuple(items)
    rest = f", and {len(items) - NAMED} more" if len(items) > NAMED else ""
    return ", ".join(items[:NAMED]) + rest


def class_folders(center: Center, root: Path, found: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Subfolders that have no label, and those that stand for a class and hold no image (center ``folder``)."""
    folders = sorted(
        entry.name
        for entry in root.iterdir()
        if entry.is_dir() and not entry.name.startswith(".") and entry.name != "__MACOSX"
    )
    filled = {path.split("/", 1)[0] for path in found}
    label = {folder: center.own_label(f"{folder}/image") for folder in folders}
    strange = [folder for folder in folders if label[folder] is None]
    return strange, [f for f in folders if f not in filled and center.labels.get(label[f] or "") is not None]


def _check_class_folders(
    center: Center, root: Path, found: tuple[str, ...], unmatched: Literal["error", "skip"]
) -> None:
    strange, empty = class_folders(center, root, found)
    if strange and unmatched == "error" and center.map_file:
        raise DataError(
            f"{root}: {center.map_file} does not mention its folder {named(strange)}. Give each a class under "
            '[folders], or "ignore"; --skip-unmatched leaves them out'
        )
    if strange and unmatched == "error":
        raise DataError(
            f"{root}: no class is called {named(strange)}. Name each subfolder after one of the 13 classes "
            f"({', '.join(CLASSES)}), map your names to classes with --map FILE.toml, or leave the others out with "
            "--skip-unmatched"
        )
    if empty:
        raise DataError(f"{root}: no images in the class folder {named(empty)}; fill it or remove it")


def _unmatched_message(center: Center, root: Path, strangers: tuple[str, ...]) -> str:
    kinds = ", ".join(center.labels)
    files = "1 image has" if len(strangers) == 1 else f"{len(strangers)} images have"
    return (
        f"{root}: {files} no label of center {center.name}: {named(strangers)}. Its labels are {kinds}. "
        "Correct or remove these files, or leave them out with --skip-unmatched"
    )
