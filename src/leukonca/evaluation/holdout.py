"""Which images of a center a model may honestly be tested on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukonca.data.cells import Cells
from leukonca.data.centers import CENTERS
from leukonca.data.official import copies_note, split_for
from leukonca.errors import DataError, UsageError
from leukonca.models.config import ModelConfig
from leukonca.training.seen import Seen, Training, digest_key, earlier_trainings, name_key, read_seen


def held_out(cells: Cells, config: ModelConfig, folder: Path, fold: int | None = None) -> tuple[NDArray[np.int64], str]:
    """Images that the model neither learned from nor was watched on, and a sentence that says which they are.

    An image counts as seen if its bytes are those of a training or validation image, whatever its name and center,
    or if it has the same name in the same public center: the same folder and the same file name without its ending,
    so that resized and converted copies are recognised. What the model had seen that this one began as counts too.

    Args:
        cells: of one center.
        config: of the model.
        folder: of the model; see `read_seen` for what it tells of what was seen.
        fold: test on this fold only; None: on all that may be tested on.

    Raises:
        UsageError: the fold is one that the model was trained on.
        DataError: the split is missing though it is needed, damaged or of another run, or nothing is left to test on.
    """
    _check_twins(cells, config.data)
    seen = read_seen(folder, config, needed=_public_home(cells, config.data) or _same_cells(cells, config.data))
    left, note = _left(cells, Training(config.data, int(config.recipe.get("seed", 0)), seen), fold)
    if len(left) == 0:
        raise DataError(f"{cells.center}: the model was trained on all of these images; none is left to test on")
    return without_earlier(cells, left, note, earlier_trainings(folder, config))


def without_earlier(
    cells: Cells, left: NDArray[np.int64], note: str, trainings: Sequence[Training]
) -> tuple[NDArray[np.int64], str]:
    """Those of some images that no earlier training has seen, and the sentence about them, with what that took away.

    Args:
        cells: of one center.
        left: which of them, int64 [N].
        note: which they are, for a reader.
        trainings: see `earlier_trainings`.

    Raises:
        DataError: nobody can say what an earlier training has seen of this center, or it has seen all of it.
    """
    for training in trainings:
        _check_twins(cells, training.data)
        home = _public_home(cells, training.data) or _same_cells(cells, training.data)
        if training.seen is None and home:
            raise DataError(
                f"{cells.center}: the model began as {training.model}, which was trained on this center, and nobody "
                "can say on which images; test on another center"
            )
        unseen = np.intersect1d(left, _left(cells, training, None)[0])
        if len(unseen) == 0:
            raise DataError(
                f"{cells.center}: the model began as {training.model}, which was trained on all of these images; "
                "none is left to test on"
            )
        if len(unseen) < len(left):
            note += f"; {len(left) - len(unseen)} that {training.model} had seen, as which it began, are left out"
        if training.seen is None:
            note += f"; it began as {training.model}, of which nobody knows the training images"
        left = unseen
    return left, note


def _check_twins(cells: Cells, data: Mapping[str, Any]) -> None:
    if _other_of_same_cells(cells.center) == data.get("center"):
        raise DataError(
            f"{cells.center}: shows the cells of {data['center']} under other names, and the model was trained "
            "on many of them, nobody can say which; test on another center"
        )


def _public_home(cells: Cells, data: Mapping[str, Any]) -> bool:
    return bool(data.get("center") == cells.center != "folder")


def _same_cells(cells: Cells, data: Mapping[str, Any]) -> bool:
    """Whether a training was on these very files, in whatever view; an older one tells of the same view alone."""
    return data.get("fingerprint") == cells.fingerprint or data.get("files") == cells.files_fingerprint


def _left(cells: Cells, training: Training, fold: int | None) -> tuple[NDArray[np.int64], str]:
    """What one training has left to test on, and a sentence that says which images these are."""
    data, seen = training.data, training.seen
    public_home, same_cells = _public_home(cells, data), _same_cells(cells, data)
    if seen is None:
        return _fold_of(cells, training, fold, "; which images the model was trained on is not known")
    if data.get("split") == "official" and public_home:
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
        return _fold_of(cells, training, fold, ", none of them byte-identical to a training image")
    own_fold, folds = data.get("fold"), data.get("folds")
    if fold is not None and not 0 <= fold < int(folds or 5):
        raise UsageError(f"fold {fold}: folds are counted from 0 to {int(folds or 5) - 1}")
    left = np.flatnonzero(~known)
    if fold is not None and fold != own_fold:
        if public_home or same_cells:
            raise UsageError(
                f"fold {fold}: the model was trained on it; its test fold is {own_fold} (leave --fold out)"
            )
        left = np.intersect1d(left, _fold_of(cells, training, fold, "")[0])
    shared = _with_others_seen(cells, known, left)
    if seen.test == {name_key(cells.paths[i]) for i in left}:
        return left, f"test fold {own_fold} of {folds}, never used in training{shared}"
    return left, f"images that were not seen in training; {int(known.sum())} that were are left out{shared}"


def _with_others_seen(cells: Cells, known: NDArray[np.bool_], left: NDArray[np.int64]) -> str:
    """How many of the tested patients have other cells that were trained on, in words; empty where none is known to."""
    if not cells.patients:
        return ""
    names = np.array(cells.patients, dtype=object).astype(str)
    tested = np.unique(names[left])
    number = len(np.intersect1d(tested, names[known]))
    return f"; {number} of its {len(tested)} patients have other cells that were: too good for these" if number else ""


def _fold_of(cells: Cells, training: Training, fold: int | None, remark: str) -> tuple[NDArray[np.int64], str]:
    if fold is None:
        return np.arange(len(cells), dtype=np.int64), f"all images{remark}"
    folds = int(training.data.get("folds", 5))
    split = split_for(cells, fold=fold, folds=folds, seed=training.seed)
    dealt = " of whole patients" if cells.patients else ""
    return split.test, f"{'official test part' if split.official else f'fold {fold} of {folds}{dealt}'}{remark}"


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
