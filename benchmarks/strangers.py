"""Images that are no cell of the kinds trained on: left-out labels, other centers, blank fields, noise, lost focus.

Blank fields and noise are SYNTHETIC.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from leukonca.data.cells import Cells, load_cells
from leukonca.data.centers import find_center
from leukonca.data.preprocessing import Preprocessing, centre_view, preprocess
from leukonca.data.synthetic.optics import CENTERS, photograph
from leukonca.data.synthetic.surroundings import surroundings
from leukonca.errors import DataError

Squares = NDArray[np.uint8]
"""Images as the automaton sees them, uint8 [N, grid, grid, 3]."""

BLURS_UM = (0.5, 1.0, 2.0)
"""Standard deviations of the Gaussian that puts a cell out of focus, um."""


@dataclass(frozen=True, eq=False)
class Strangers:
    """One kind of image.

    Args:
        name: of the kind.
        squares: see `Squares`.
        synthetic: made by a generator.
    """

    name: str
    squares: Squares
    synthetic: bool = False


def some(indices: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    """At most so many of them, drawn, in rising order."""
    return np.sort(np.random.default_rng(seed).permutation(indices)[:most])


def left_out(center: str, directory: Path, preprocessing: Preprocessing, *, workers: int | None = None) -> Cells:
    """The cells whose labels have no place among the classes, with these labels as classes."""
    home = find_center(center)
    dropped = [own for own, kept in home.labels.items() if kept is None]
    if not dropped:
        raise DataError(f"{center}: all of its labels are among the classes")
    others = replace(
        home,
        name=f"{center}-left-out",
        labels=MappingProxyType({own: own if own in dropped else None for own in home.labels}),
        comprises=MappingProxyType(dict.fromkeys(dropped, ())),
    )
    return load_cells(others, directory, preprocessing, workers=workers, quiet=True)


def halves(cells: Cells, label: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cells with a label in two halves that depend on the file names alone: one to choose by, one to report."""
    found = np.flatnonzero(cells.labels == cells.classes.index(label))
    first = np.array([hashlib.sha256(cells.paths[i].encode()).digest()[0] % 2 == 0 for i in found], dtype=bool)
    return found[first], found[~first]


def out_of_focus(cells: Cells, indices: NDArray[np.int64]) -> Iterator[Strangers]:
    """Real cells, blurred."""
    settings = cells.preprocessing
    shown_um = settings.field_um if settings.field_um is not None else cells.image_um
    if shown_um is None:
        raise DataError("no scale is known: blur in um has no meaning")
    for um in BLURS_UM:
        pixels = um / shown_um * settings.grid
        blurred = ndimage.gaussian_filter(cells.images[indices].astype(np.float32), (0, pixels, pixels, 0))
        yield Strangers(f"out of focus, {um:g} um", centre_view(blurred.round().astype(np.uint8), settings))


def made_up(cells: Cells, indices: NDArray[np.int64], number: int, seed: int) -> Iterator[Strangers]:
    """SYNTHETIC blank fields and noise in the colors of some real cells, `number` of each kind."""
    settings = cells.preprocessing
    rng = np.random.default_rng(seed)
    pixels = cells.images[indices].reshape(-1, 3)
    mean, std = pixels.mean(axis=0), pixels.std(axis=0)
    light = background(cells.images[indices])
    shape = (number, settings.side, settings.side, 3)

    def kind(name: str, values: NDArray[np.floating]) -> Strangers:
        squares = np.clip(values, 0, 255).round().astype(np.uint8)
        return Strangers(name, centre_view(squares, settings), synthetic=True)

    yield kind("blank field", light + rng.normal(0, 3, shape))
    yield kind("blank field with red cells", red_cells(light / 255, cells.image_um or 36.0, settings, number, rng))
    yield kind("noise, every pixel", rng.uniform(0, 255, shape))
    coarse = ndimage.gaussian_filter(rng.normal(size=shape), (0, 3, 3, 0))
    yield kind("noise, coarse, colors of cells", mean + std * coarse / coarse.std())


def background(images: Squares) -> NDArray[np.float64]:
    """The color of the empty slide, 0..255: the median over images of the pixel that is brighter than 90% of them."""
    flat = images.reshape(len(images), -1, 3).astype(np.float64)  # [N, pixels, 3]
    place = int(0.9 * flat.shape[1])
    bright = np.argpartition(flat.sum(axis=2), place, axis=1)[:, place]
    color: NDArray[np.float64] = np.median(flat[np.arange(len(flat)), bright], axis=0)
    return color


def red_cells(
    light: NDArray[np.float64], image_um: float, settings: Preprocessing, number: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """SYNTHETIC fields of red cells and platelets without a leukocyte, on a slide of that color, 0..1."""
    red, green, blue = light.tolist()
    center = replace(CENTERS["synthetic_lilac"], background=(red, green, blue), image_um=image_um)
    nowhere = ((0.0, 0.0), -image_um)  # room for a cell of less than no size: red cells may lie anywhere
    fields = [photograph(surroundings(center, *nowhere, rng), center, rng) for _ in range(number)]
    return np.stack([preprocess(field, settings, image_um) for field in fields]).astype(np.float64)
