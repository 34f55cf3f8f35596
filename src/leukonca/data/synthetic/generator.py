"""Series of SYNTHETIC cells, in memory or as files."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from leukonca.data.cells import Cells
from leukonca.data.preprocessing import Preprocessing, preprocess, preprocess_kinds
from leukonca.data.synthetic.anatomy import ANATOMY
from leukonca.data.synthetic.marks import NOTE
from leukonca.data.synthetic.optics import CENTERS, photograph
from leukonca.data.synthetic.painting import CYTOPLASM, NUCLEUS, paint
from leukonca.errors import UsageError
from leukonca.files import fingerprint, whole_file
from leukonca.progress import track
from leukonca.taxonomy import CLASSES

SYNTHETIC_CENTERS: tuple[str, ...] = tuple(CENTERS)
"""Names of the three synthetic centers; the first is the one that the demonstration trains on."""

SYNTHETIC_IMAGE_UM: Mapping[str, float] = MappingProxyType({name: center.image_um for name, center in CENTERS.items()})
"""Field of view of each synthetic center's images, um (96 x 96 pixels)."""

_DRAWING = 1
"""Counts up whenever the drawing changes, so that fingerprints of older series differ."""


def draw_cell(center: str, cell_class: str, index: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """One SYNTHETIC cell; a pure function of its four arguments (to the last bit on one kind of processor).

    Args:
        center: one of `SYNTHETIC_CENTERS`.
        cell_class: one of `leukonca.CLASSES`.
        index: number of the cell within its class, from 0.
        seed: of the series, not negative.

    Returns:
        The image, uint8 [96, 96, 3], and its mask, uint8 [96, 96]: 255 nucleus, 128 cytoplasm, 0 the rest.

    Raises:
        UsageError: an unknown center or class, or a negative number.
    """
    if center not in CENTERS:
        raise UsageError(f"{center}: no synthetic center; choose {', '.join(SYNTHETIC_CENTERS)}")
    if cell_class not in ANATOMY:
        raise UsageError(f"{cell_class}: no cell class; choose {', '.join(CLASSES)}")
    if seed < 0 or index < 0:
        raise UsageError(f"synthetic cells: seed {seed} and index {index} must not be negative")
    rng = np.random.default_rng([seed, SYNTHETIC_CENTERS.index(center), CLASSES.index(cell_class), index])
    amounts, mask = paint(ANATOMY[cell_class], CENTERS[center], rng)
    return photograph(amounts, CENTERS[center], rng), mask


def synthetic_cells(
    center: str, per_class: int, seed: int, preprocessing: Preprocessing, *, quiet: bool = False
) -> tuple[Cells, NDArray[np.uint8]]:
    """A balanced series of SYNTHETIC cells, ready for training or testing.

    Args:
        center: one of `SYNTHETIC_CENTERS`.
        per_class: cells of each of the 13 classes, at least 1.
        seed: of the series; another seed gives other cells.
        preprocessing: crop and size, as for real cells.
        quiet: show no progress bar.

    Returns:
        The cells, in the order of their paths as `write_synthetic` would name them, and their masks,
        uint8 [N, side, side]: 255 nucleus, 128 cytoplasm, 0 the rest.

    Raises:
        UsageError: an unknown center, or a number out of range.
    """
    _check(center, per_class, seed)
    image_um = SYNTHETIC_IMAGE_UM[center]
    paths = [path for path, _, _ in _series(per_class)]
    labels = np.array([CLASSES.index(cell_class) for _, cell_class, _ in _series(per_class)], dtype=np.int64)
    side = preprocessing.side
    images = np.empty((len(paths), side, side, 3), dtype=np.uint8)
    masks = np.empty((len(paths), side, side), dtype=np.uint8)
    series = track(_series(per_class), f"Drawing {center}", len(paths), quiet=quiet)
    for place, (_, cell_class, index) in enumerate(series):
        image, mask = draw_cell(center, cell_class, index, seed)
        images[place] = preprocess(image, preprocessing, image_um)
        masks[place] = preprocess_kinds(mask, (0, CYTOPLASM, NUCLEUS), preprocessing, image_um)
    images.flags.writeable = False
    cells = Cells(
        center=center,
        paths=tuple(paths),
        labels=labels,
        images=images,
        groups=np.arange(len(paths), dtype=np.int64),
        preprocessing=preprocessing,
        image_um=image_um,
        fingerprint=fingerprint("synthetic", _DRAWING, center, per_class, seed, preprocessing.facts()),
        digests=tuple(fingerprint("synthetic", _DRAWING, center, path, seed) for path in paths),
        skipped=(),
    )
    return cells, masks


def write_synthetic(
    directory: Path,
    center: str,
    per_class: int,
    seed: int,
    *,
    classes: Sequence[str] = CLASSES,
    quiet: bool = False,
) -> None:
    """Write SYNTHETIC cells as files: class folders of PNGs as the center `folder` reads them.

    The masks go to a folder beside, named `<directory>-masks`, under the same names. Each file carries a note that its
    cell is synthetic.

    Args:
        directory: made if missing; must be empty.
        center: one of `SYNTHETIC_CENTERS`; what its images show is `SYNTHETIC_IMAGE_UM[center]` um wide.
        per_class: cells of each class, at least 1.
        seed: of the series.
        classes: some of the 13; a cell does not depend on which others are drawn.
        quiet: show no progress bar.

    Raises:
        UsageError: an unknown center or class, a number out of range, or a folder that is not empty or not writable.
    """
    _check(center, per_class, seed)
    if not classes or set(classes) - set(CLASSES):
        raise UsageError(f"synthetic cells of {', '.join(classes) or 'no class'}: there are {', '.join(CLASSES)}")
    directory = Path(directory).resolve()  # so that "." has a name to build the other folder from
    masks = directory.with_name(directory.name + "-masks")
    for folder in (directory, masks):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder}: already there and not an empty folder; choose another")
    note = PngInfo()
    note.add_text("Description", f"{NOTE} ({center}, seed {seed}); not a real cell")
    series = track(_series(per_class, classes), f"Drawing {center}", per_class * len(classes), quiet=quiet)
    for path, cell_class, index in series:
        image, mask = draw_cell(center, cell_class, index, seed)
        for folder, pixels in ((directory, image), (masks, mask)):
            with whole_file(folder / path) as temporary:
                Image.fromarray(pixels).save(temporary, "PNG", pnginfo=note, compress_level=1)


def _series(per_class: int, classes: Sequence[str] = CLASSES) -> Iterator[tuple[str, str, int]]:
    """(relative path, class, index) in the order of the paths."""
    digits = max(4, len(str(per_class - 1)))
    for cell_class in sorted(set(classes)):
        for index in range(per_class):
            yield f"{cell_class}/synthetic_{index:0{digits}d}.png", cell_class, index


def _check(center: str, per_class: int, seed: int) -> None:
    if center not in CENTERS:
        raise UsageError(f"{center}: no synthetic center; choose {', '.join(SYNTHETIC_CENTERS)}")
    if per_class < 1 or seed < 0:
        raise UsageError(f"synthetic cells: {per_class} per class with seed {seed}; needs at least 1 and seed >= 0")
