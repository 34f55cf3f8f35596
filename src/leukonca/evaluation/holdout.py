"""Which images of a center a model may honestly be tested on."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leukonca.data.cells import Cells
from leukonca.data.centers import CENTERS
from leukonca.data.official import copies_note, split_for
from leukonca.errors import DataError, UsageError
from leukonca.evaluation.seen import Seen, digest_key, name_key, read_seen
from leukonca.models.config import ModelConfig


def held_out(cells: Cells, config: ModelConfig, folder: Path, fold: int | None = None) -> tuple[NDArray[np.int64], str]:
    """Images that the model neither learned from nor was watched on, and a sentence that says which they are.

    An image counts as seen if its bytes are those of a training or validation image, whatever its name and center,
    or if it has the same name in the same public center: the same folder and the same file name without its ending,
    so that resized and converted copies are recognised.

    Args:
        cells: of one center.
        config: of the model.
        folder: of the model; see `read_seen` for what it tells of what was seen.
        fold: test on this fold only; None: on all that may be tested on.

    Raises:
        UsageError: the fold is one that the model was trained on.
        DataError: the split is missing though it is needed, damaged or of another run, or nothing is left to test on.
    """
    if _other_of_same_cells(cells.center) == config.data.get("center"):
        raise DataError(
            f"{cells.center}: shows the cells of {config.data['center']} under other names, and the model was trained "
            "on many of them, nobody can say which; test on another center"
        )
    public_home = config.data.get("center") == cells.center != "folder"
    same_cells = config.data.get("fingerprint") == cells.fingerprint
    seen = read_seen(folder, config, needed=public_home or same_cells)
    if seen is None:
        return _fold_of(cells, config, fold, "; which images the model was trained on is not known")
    if config.data.get("split") == "official" and public_home:
        return _official_test(cells, seen, fold)
    known = np.array([digest_key(digest) in seen.digests for digest in cells.digests], dtype=bool)
    if public_home:
        known |= np.array([name_key(path) in seen.names for path in cells.paths], dtype=bool)
        if not known.any() and seen.test.isdisjoint(map(name_key, cells.paths)):
            raise DataError(
                f"{cells.center}: the model was trained on this center, but no file name is known from its run, so "
                "nobody can say which images it has seen; use the folders and file names as published"
            )
    if not known.any():
        return _fold_of(cells, config, fold, ", none of them byte-identical to a training image")
    own_fold, folds = config.data.get("fold"), config.data.get("folds")
    if fold is not None and not 0 <= fold < int(folds or 5):
        raise UsageError(f"fold {fold}: folds are counted from 0 to {int(folds or 5) - 1}")
    left = np.flatnonzero(~known)
    if fold is not None and fold != own_fold:
        if public_home or same_cells:
            raise UsageError(
                f"fold {fold}: the model was trained on it; its test fold is {own_fold} (leave --fold out)"
            )
        left = np.intersect1d(left, _fold_of(cells, config, fold, "")[0])
    if len(left) == 0:
        raise DataError(f"{cells.center}: the model was trained on all of these images; none is left to test on")
    if seen.test == {name_key(cells.paths[i]) for i in left}:
        return left, f"test fold {own_fold} of {folds}, never used in training"
    return left, f"images that were not seen in training; {int(known.sum())} that were are left out"


def _fold_of(cells: Cells, config: ModelConfig, fold: int | None, remark: str) -> tuple[NDArray[np.int64], str]:
    if fold is None:
        return np.arange(len(cells), dtype=np.int64), f"all images{remark}"
    folds, seed = int(config.data.get("folds", 5)), int(config.recipe.get("seed", 0))
    split = split_for(cells, fold=fold, folds=folds, seed=seed)
    return split.test, f"{'official test part' if split.official else f'fold {fold} of {folds}'}{remark}"


def _other_of_same_cells(center: str) -> str:
    """The center that shows the same cells under other names; empty: none."""
    twins = {each.name: each.same_cells for each in CENTERS.values() if each.same_cells}
    return twins.get(center) or next((name for name, twin in twins.items() if twin == center), "")


def _official_test(cells: Cells, seen: Seen, fold: int | None) -> tuple[NDArray[np.int64], str]:
    """The official test part, whole, so that scores stand beside those of others."""
    if fold not in (None, 0):
        raise UsageError(f"fold {fold}: {cells.center} has an official split and no folds; leave --fold out")
    test = np.flatnonzero([name_key(path) in seen.test for path in cells.paths])
    if len(test) == 0:
        raise DataError(f"{cells.center}: holds no image of its official test part; fetch it again")
    copies = sum(digest_key(cells.digests[i]) in seen.digests for i in test)
    return test, f"official test part, {copies_note(copies)}"
