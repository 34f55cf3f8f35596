"""What a center's folder holds against what it should hold: counts, unusable files, duplicates."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from leukonca.data.cells import read_files
from leukonca.data.centers import Center, find_center
from leukonca.data.duplicates import THUMBNAIL, identical_groups, near_pairs
from leukonca.data.listing import class_folders, detect_center, find_source
from leukonca.data.medmnist import read_archive
from leukonca.data.preprocessing import Preprocessing
from leukonca.errors import DataError


@dataclass(frozen=True)
class Duplicate:
    """Images that show one cell.

    Args:
        paths: two or more, relative, sorted.
        labels: the center's own label of each; None: it has none.
        difference: 0: byte-identical files; else the mean difference of their pixels, levels of 0..255.
    """

    paths: tuple[str, ...]
    labels: tuple[str | None, ...]
    difference: float = 0.0

    @property
    def contradicts(self) -> bool:
        """Whether one cell goes under different labels."""
        return len(set(self.labels)) > 1


@dataclass(frozen=True)
class Check:
    """What was found in a folder.

    Args:
        center: whose rule was applied.
        root: the folder.
        counts: own label -> images found, all labels of the center in their order.
        unmatched: files that no rule of the center matches.
        unreadable: (path, reason) of files that are no usable image.
        empty: class folders without an image, which stop a load (center ``folder``).
        identical: byte-identical files, those with different labels first.
        near: pairs of different files with nearly equal pixels, those with different labels first.
        parts: top folder -> images found, of a center with an official split.
    """

    center: Center
    root: Path
    counts: Mapping[str, int]
    unmatched: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]
    empty: tuple[str, ...]
    identical: tuple[Duplicate, ...]
    near: tuple[Duplicate, ...]
    parts: Mapping[str, int] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """Image files found, usable or not."""
        return sum(self.counts.values()) + len(self.unmatched)

    @property
    def usable(self) -> int:
        """Images with a label that can be read."""
        broken = {path for path, _ in self.unreadable}
        return sum(self.counts.values()) - len(broken - set(self.unmatched))

    @property
    def sound(self) -> bool:
        """Whether every file is usable; missing images and duplicates do not count against that."""
        return not (self.unmatched or self.unreadable or self.empty)


def check_folder(directory: Path, center: str | Center | None = None, *, quiet: bool = False) -> Check:
    """Read every image of a folder once, and tell what is there.

    Args:
        directory: the center's folder.
        center: a key of `CENTERS`, or a center of one's own; None: detected from the paths.
        quiet: no progress bar.

    Raises:
        UsageError: no such center.
        DataError: the folder is missing, holds no image, or no image that can be used; no center can be detected.
    """
    root = Path(directory)
    described = detect_center(root) if center is None else find_center(center)
    archive, paths = find_source(described, root)
    labels = [described.own_label(path) for path in paths]
    if not any(labels):
        raise DataError(f"{root}: none of its {len(paths)} images has a label of center {described.name}")
    counted = Counter(labels)
    digests, thumbnails, read, unreadable = [], [], [], []
    if archive is not None:
        source = read_archive(archive, Preprocessing(THUMBNAIL), None, count=len(paths), label="checking", quiet=quiet)
    else:
        files = [root / path for path in paths]
        source = read_files(files, Preprocessing(THUMBNAIL), None, label="checking", quiet=quiet)
    for position, decoded in enumerate(source):
        digests.append(decoded.digest)
        if decoded.image is None:
            unreadable.append((paths[position], decoded.reason))
        else:
            thumbnails.append(decoded.image)
            read.append(position)
    if not any(labels[position] for position in read):
        raise DataError(f"{root}: none of its {len(paths)} images can be used; the first: {' '.join(unreadable[0])}")

    def duplicate(members: tuple[int, ...], difference: float = 0.0) -> Duplicate:
        return Duplicate(tuple(paths[i] for i in members), tuple(labels[i] for i in members), difference)

    identical = identical_groups(digests)
    copies = {position for members in identical for position in members[1:]}
    different = [k for k, position in enumerate(read) if position not in copies]
    near = [
        duplicate((read[different[a]], read[different[b]]), difference)
        for a, b, difference in near_pairs(np.stack([thumbnails[k] for k in different]))
    ]
    tops = Counter(path.split("/", 1)[0] for path in paths)
    return Check(
        center=described,
        root=root,
        counts={label: counted[label] for label in described.labels},
        unmatched=tuple(path for path, label in zip(paths, labels, strict=True) if label is None),
        unreadable=tuple(unreadable),
        empty=tuple(class_folders(described, root, paths)[1]) if described.name == "folder" else (),
        identical=tuple(sorted(map(duplicate, identical), key=lambda found: not found.contradicts)),
        near=tuple(sorted(near, key=lambda found: not found.contradicts)),
        parts={part: tops[part] for part in described.parts},
    )
