"""The division that a center itself publishes, used in place of folds, so that results stand beside others'."""

from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from leukonca.data.cells import Cells
from leukonca.data.centers import CENTERS
from leukonca.data.splits import PARTS, Split, patients_of, split_cells
from leukonca.errors import DataError, UsageError


def split_for(cells: Cells, *, fold: int, folds: int = 5, seed: int = 0) -> Split:
    """The center's official split if it has one, else stratified folds (see `split_cells`).

    Args:
        cells: of one center.
        fold: the test fold; 0 where the split is official.
        folds: how many; of no meaning where the split is official.
        seed: of the folds.

    Raises:
        UsageError: a fold of a center that has none, or see `split_cells`.
        DataError: a part without any image, or see `split_cells`.
    """
    if cells.patients and has_official_split(cells.center):
        raise UsageError(f"{cells.center}: has an official split, which is not by patient; leave --patients out")
    if not has_official_split(cells.center):
        return split_cells(cells, fold=fold, folds=folds, seed=seed)
    if fold != 0:
        raise UsageError(f"{cells.center}: has an official split and no folds; leave --fold out")
    part_of = CENTERS[cells.center].parts
    parts = np.array([part_of.get(PurePosixPath(path).parts[0], "") for path in cells.paths])
    train, validation, test = (np.flatnonzero(parts == part) for part in PARTS)
    for name, members in zip(PARTS, (train, validation, test), strict=True):
        if len(members) == 0:
            raise DataError(f"{cells.center}: holds no image of its official {name} part; fetch it again")
    return Split(train, validation, test, fold=0, folds=1, seed=seed, official=True)


def has_official_split(center: str) -> bool:
    """Whether a center publishes its own division."""
    return center in CENTERS and bool(CENTERS[center].parts)


def note_of_test(cells: Cells, split: Split) -> str:
    """Which images the test is made on, in words."""
    if not split.official:
        return f"test fold {split.fold} of {split.folds}, never used in training{_of_others(cells, split)}"
    return f"official test part of {cells.center}, {copies_note(copies(cells, split.test, split.train))}"


def _of_others(cells: Cells, split: Split) -> str:
    if not cells.patients:
        return ""
    number = patients_of(split, cells)["test"]
    return f", of {number} patient{'s' if number > 1 else ''} none of whose cells it was trained on here"


def copies(cells: Cells, ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> int:
    """How many of our cells are byte-identical to one of theirs."""
    return int(np.isin(cells.groups[ours], cells.groups[theirs]).sum())


def copies_note(number: int) -> str:
    """The same in words."""
    return f"{number or 'none'} of its images byte-identical to a training image"
