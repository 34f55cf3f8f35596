"""Which images of a center a model may honestly be tested on."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from leukonca.data.cells import Cells
from leukonca.data.centers import CENTERS
from leukonca.data.official import copies_note, split_for
from leukonca.data.splits import PARTS, short_digests
from leukonca.errors import DataError, UsageError
from leukonca.models.config import ModelConfig


@dataclass(frozen=True)
class _Seen:
    """What a run learned from or was watched on, by name and by content, and the names of its test part."""

    names: frozenset[str]
    digests: frozenset[str]
    test: frozenset[str]


def held_out(cells: Cells, config: ModelConfig, folder: Path, fold: int | None = None) -> tuple[NDArray[np.int64], str]:
    """Images that the model neither learned from nor was watched on, and a sentence that says which they are.

    An image counts as seen if its bytes are those of a training or validation image, whatever its name and center,
    or if it has the same name in the same public center: the same folder and the same file name without its ending,
    so that resized and converted copies are recognised.

    Args:
        cells: of one center.
        config: of the model.
        folder: of the model; its ``split.json`` tells what was seen.
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
    seen = _read_seen(folder, config, needed=public_home or same_cells)
    if seen is None:
        return _fold_of(cells, config, fold, "; which images the model was trained on is not known")
    if config.data.get("split") == "official" and public_home:
        return _official_test(cells, seen, fold)
    known = np.array([digest in seen.digests for digest in short_digests(cells)], dtype=bool)
    if public_home:
        known |= np.array([_name(path) in seen.names for path in cells.paths], dtype=bool)
        if not known.any() and seen.test.isdisjoint(map(_name, cells.paths)):
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
    if seen.test == {_name(cells.paths[i]) for i in left}:
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


def _official_test(cells: Cells, seen: _Seen, fold: int | None) -> tuple[NDArray[np.int64], str]:
    """The official test part, whole, so that scores stand beside those of others."""
    if fold not in (None, 0):
        raise UsageError(f"fold {fold}: {cells.center} has an official split and no folds; leave --fold out")
    test = np.flatnonzero([_name(path) in seen.test for path in cells.paths])
    if len(test) == 0:
        raise DataError(f"{cells.center}: holds no image of its official test part; fetch it again")
    digests = short_digests(cells)
    return test, f"official test part, {copies_note(sum(digests[i] in seen.digests for i in test))}"


def _name(path: str) -> str:
    pure = PurePosixPath(path)
    return f"{pure.parent.name}/{pure.stem}"


def _read_seen(folder: Path, config: ModelConfig, *, needed: bool) -> _Seen | None:
    path = Path(folder) / "split.json"
    if not path.is_file():
        if needed:
            raise DataError(
                f"{path}: missing, so nobody can say which images the model was trained on; "
                "test on another center, or copy the whole run folder"
            )
        return None
    try:
        raw = path.read_bytes()
        if config.data.get("split_sha256") not in (None, hashlib.sha256(raw).hexdigest()):
            raise DataError(f"{path}: not the split that this model was trained on; copy the run folder again")
        facts = json.loads(raw)
        train, validation, test = (frozenset(map(_name, facts[part])) for part in PARTS)
        digests = frozenset(facts["digests"]["train"]) | frozenset(facts["digests"]["validation"])
    except DataError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: damaged ({error!r}); copy the run folder again") from error
    return _Seen(train | validation, digests, test)
