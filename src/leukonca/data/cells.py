"""A center's images as one array of equal squares, decoded once and memory-mapped from then on."""

import hashlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import PIL
from numpy.typing import NDArray

from leukonca.data.cache import FORMAT, Cache, Decoded, Entry, cache_folder
from leukonca.data.centers import Center
from leukonca.data.images import read_image
from leukonca.data.listing import Listing, list_images
from leukonca.data.medmnist import read_archive
from leukonca.data.preprocessing import Preprocessing, preprocess
from leukonca.errors import DataError, UsageError
from leukonca.files import fingerprint, why_unwritable
from leukonca.progress import bar
from leukonca.taxonomy import CLASSES, EACH_ITSELF, Comprises
from leukonca.threads import default_threads

MOST_WORKERS = 4
"""Threads beyond this wait for each other: only decoding, resizing and hashing run without Python's lock."""

CHUNK = 256
"""Files in flight at a time: bounds the memory and how long Ctrl-C takes."""

NAMED = 50
"""How many unreadable files a message names, each with its reason."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Labelled single-cell images of one center.

    Args:
        center: name of the center.
        paths: relative to the center's folder, forward slashes, sorted.
        labels: int64 [N], position in `classes`.
        images: uint8 [N, side, side, 3] RGB, read-only, usually memory-mapped.
        groups: int64 [N]; the same number means byte-identical files.
        preprocessing: how the squares were cut and resized.
        image_um: what the shorter side of a file shows, um; None: unknown.
        fingerprint: 64 hex digits of the files' contents, names and labels and of the settings; the same on
            every machine, wherever the folder is and whenever it was copied.
        digests: SHA-256 of each file's bytes, hex, N of them.
        skipped: (path, reason) of files that could not be read and were left out on purpose.
        unmatched: files without a label of the center that were left out on purpose.
        dropped: the center's own label -> files left out because it has no place among the classes.
        comprises: the classes that the labels are given in, and which of the 13 each comprises.
        patients: whose cell each is, N names, or those of slides; empty: not known. See `leukonca.data.patients`.
    """

    center: str
    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    images: NDArray[np.uint8]
    groups: NDArray[np.int64]
    preprocessing: Preprocessing
    image_um: float | None
    fingerprint: str
    digests: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    unmatched: tuple[str, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    comprises: Comprises = field(default_factory=lambda: dict(EACH_ITSELF))
    patients: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def patients_of(self, indices: NDArray[np.int64]) -> tuple[str, ...]:
        """Whose some of the cells are, N names; empty where that is not known."""
        return tuple(self.patients[i] for i in indices) if self.patients else ()

    @property
    def classes(self) -> tuple[str, ...]:
        """What the labels can say, in the order of their numbers: the 13 classes, or the center's own coarser ones."""
        return tuple(self.comprises)

    @property
    def files_fingerprint(self) -> str:
        """64 hex digits of the files' contents and names, however they are cut out and labelled."""
        return fingerprint("files", self.center, self.paths, self.digests)

    @property
    def class_counts(self) -> Mapping[str, int]:
        """Number of images of each of the `classes`, in their order, zeros included."""
        counts = np.bincount(self.labels, minlength=len(self.classes))
        return {name: int(count) for name, count in zip(self.classes, counts, strict=True)}


def load_cells(
    name: str | Center,
    directory: Path,
    preprocessing: Preprocessing,
    *,
    image_um: float | None = None,
    unmatched: Literal["error", "skip"] = "error",
    unreadable: Literal["error", "skip"] = "error",
    cache_dir: Path | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> Cells:
    """Decode, crop and resize a center's images, or map them from the cache if nothing has changed.

    A change is noticed by a file's name, size and times, by the settings and by the version of Pillow. A cache
    that is unfinished, truncated or damaged is made anew; one that cannot be written is done without, with a
    warning on standard error.

    Args:
        name: a key of `leukonca.data.centers.CENTERS`, or a center of one's own.
        directory: the center's folder.
        preprocessing: field and size of the squares.
        image_um: what the shorter side of a file shows, um; None: what the center says.
        unmatched: what happens to files without a label of the center.
        unreadable: what happens to files that are no usable image.
        cache_dir: where decoded images are kept; None: see `leukonca.data.cache.cache_folder`.
        workers: threads; None: as many as there are cores to use, at most 4.
        quiet: no progress bar.

    Raises:
        UsageError: no such center, or settings that cannot be meant.
        DataError: see `list_images`; unreadable files; no readable file at all; no room for the cache.
    """
    if workers is not None and workers < 1:
        raise UsageError(f"workers={workers}: needs at least 1")
    if image_um is not None and not 0 < image_um < float("inf"):
        raise UsageError(f"image_um={image_um}: what an image shows must be a positive number of um")
    listing = list_images(name, directory, unmatched=unmatched)
    image_um = listing.center.image_um if image_um is None else image_um
    entry = _from_cache(listing, preprocessing, image_um, cache_dir, workers, quiet)
    skipped = tuple((path, why) for path, why in zip(listing.paths, entry.reasons, strict=True) if why)
    if skipped and unreadable == "error":
        raise DataError(_unreadable_message(listing, skipped))
    if len(skipped) == len(listing.paths):
        raise DataError(f"{listing.root}: none of its {len(skipped)} images can be read; first {skipped[0]}")
    usable = np.array([not why for why in entry.reasons])
    paths = tuple(path for path, good in zip(listing.paths, usable, strict=True) if good)
    digests = [digest for digest, good in zip(entry.digests, usable, strict=True) if good]
    labels = listing.labels[usable]
    labels.setflags(write=False)
    comprises = listing.center.comprises
    facts = ("cells", listing.center.name, preprocessing.facts(), image_um, paths, labels.tolist(), digests)
    names = () if tuple(comprises) == CLASSES else (tuple(comprises.items()),)
    return Cells(
        center=listing.center.name,
        paths=paths,
        labels=labels,
        images=entry.images,
        groups=group_numbers(digests),
        preprocessing=preprocessing,
        image_um=image_um,
        fingerprint=fingerprint(*facts, *names),
        digests=tuple(digests),
        skipped=skipped,
        unmatched=listing.unmatched,
        dropped=listing.dropped,
        comprises=dict(comprises),
    )


def group_numbers(keys: Sequence[str]) -> NDArray[np.int64]:
    """Number equal keys alike, 0, 1, 2 ... in order of appearance: int64 [N], read-only."""
    numbers: dict[str, int] = {}
    groups = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
    groups.setflags(write=False)
    return groups


def read_file(path: Path, preprocessing: Preprocessing, image_um: float | None) -> Decoded:
    """Hash, decode, crop and resize one file; what is wrong with it comes back as the reason."""
    digest = ""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Decoded(preprocess(read_image(path), preprocessing, image_um), digest)
    except DataError as error:
        return Decoded(None, digest, str(error).removeprefix(f"{path}: "))
    except OSError as error:
        return Decoded(None, digest, error.strerror or str(error))


def read_files(
    files: Sequence[Path],
    preprocessing: Preprocessing,
    image_um: float | None,
    *,
    label: str,
    workers: int | None = None,
    quiet: bool = False,
) -> Iterator[Decoded]:
    """Read many files in several threads, in order, behind a progress bar (see `read_file`).

    Args:
        files: what to read.
        preprocessing: field and size of the squares.
        image_um: what the shorter side of a file shows, um.
        label: words beside the bar.
        workers: threads; None: as many as there are cores to use, at most 4.
        quiet: no bar.
    """
    one = partial(read_file, preprocessing=preprocessing, image_um=image_um)
    with (
        bar(label, len(files), quiet=quiet) as shown,
        ThreadPoolExecutor(workers or min(default_threads(), MOST_WORKERS)) as pool,
    ):
        for start in range(0, len(files), CHUNK):
            for decoded in pool.map(one, files[start : start + CHUNK]):
                yield decoded
                shown.advance()


def _from_cache(
    listing: Listing,
    preprocessing: Preprocessing,
    image_um: float | None,
    cache_dir: Path | None,
    workers: int | None,
    quiet: bool,
) -> Entry:
    root = os.path.realpath(listing.archive or listing.root)
    sources = [listing.archive] if listing.archive else [listing.root / path for path in listing.paths]
    settings = (FORMAT, PIL.__version__, listing.center.name, root, asdict(preprocessing), image_um)
    folder = cache_folder(cache_dir)
    cache = Cache(
        folder,
        slot=fingerprint(*settings),
        key=fingerprint(*settings, [_stamp(path) for path in sources], listing.paths),
        count=len(listing.paths),
        side=preprocessing.side,
    )
    entry = cache.load()
    if entry is not None:
        return entry
    label = f"reading {listing.center.name}"
    if listing.archive is not None:
        count = len(listing.paths)
        decoded = read_archive(listing.archive, preprocessing, image_um, count=count, label=label, quiet=quiet)
    else:
        files = [listing.root / path for path in listing.paths]
        decoded = read_files(files, preprocessing, image_um, label=label, workers=workers, quiet=quiet)
    trouble = why_unwritable(folder)
    if trouble:
        print(
            f"leukonca: {folder}: cannot keep decoded images there ({trouble}); they stay in memory for this run. "
            "Set LEUKONCA_CACHE to a folder that can be written",
            file=sys.stderr,
        )
        return _in_memory(decoded, len(listing.paths), preprocessing.side)
    return cache.store(decoded)


def _in_memory(decoded: Iterator[Decoded], count: int, side: int) -> Entry:
    images = np.empty((count, side, side, 3), dtype=np.uint8)
    digests, reasons, used = [], [], 0
    for one in decoded:
        digests.append(one.digest)
        reasons.append(one.reason)
        if one.image is not None:
            images[used] = one.image
            used += 1
    images = images[:used]
    images.setflags(write=False)
    return Entry(images, tuple(digests), tuple(reasons))


def _stamp(path: Path) -> tuple[int, int, int]:
    """Size and times. The time of the last change of state sees a rewrite whose other time was set back."""
    try:
        status = path.stat()
    except OSError:
        return (-1, -1, -1)
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _unreadable_message(listing: Listing, skipped: Sequence[tuple[str, str]]) -> str:
    lines = "".join(f"\n  {path}: {reason}" for path, reason in skipped[:NAMED])
    rest = f"\n  and {len(skipped) - NAMED} more" if len(skipped) > NAMED else ""
    return (
        f"{listing.root}: {len(skipped)} of {len(listing.paths)} images cannot be read; "
        f"replace or remove them, or leave them out with --skip-unreadable:{lines}{rest}"
    )
