"""Which images of a center a model may honestly be tested on."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leukonca.data.cells import Cells
from leukonca.data.splits import PARTS, short_digests, split_cells
from leukonca.errors import DataError, UsageError
from leukonca.models.config import ModelConfig


@dataclass(frozen=True)
class _Seen:
    """What a run learned from or was watched on, by relative path and by content, and its test part."""

    paths: frozenset[str] = frozenset()
    digests: frozenset[str] = frozenset()
    test: frozenset[str] = frozenset()


def held_out(cells: Cells, config: ModelConfig, folder: Path, fold: int | None = None) -> tuple[NDArray[np.int64], str]:
    """Images that the model neither learned from nor was watched on, and a sentence that says which they are.

    An image counts as seen if its bytes are those of a training or validation image, whatever its name and center,
    or if it has the same path in the same public center (a resized copy of it).

    Args:
        cells: of one center.
        config: of the model.
        folder: of the model; its ``split.json`` tells what was seen.
        fold: test on this fold only; None: on all that may be tested on.

    Raises:
        UsageError: the fold is one that the model was trained on.
        DataError: the split is missing though it is needed, or damaged, or nothing is left to test on.
    """
    home = config.data.get("center") == cells.center
    seen = _read_seen(folder, needed=home)
    known = np.array([digest in seen.digests for digest in short_digests(cells)], dtype=bool)
    if home and cells.center != "folder":
        known |= np.array([path in seen.paths for path in cells.paths], dtype=bool)
    if not known.any():
        if fold is None:
            return np.arange(len(cells), dtype=np.int64), "all images, none of them seen in training"
        folds, seed = int(config.data.get("folds", 5)), int(config.recipe.get("seed", 0))
        return split_cells(cells, fold=fold, folds=folds, seed=seed).test, f"fold {fold} of {folds}"
    own_fold = config.data.get("fold")
    if fold is not None and fold != own_fold:
        raise UsageError(
            f"fold {fold}: the model was trained on images of it; its own test fold is {own_fold} (leave --fold out)"
        )
    left = np.flatnonzero(~known)
    if len(left) == 0:
        raise DataError(f"{cells.center}: the model was trained on all of these images; none is left to test on")
    if seen.test == {cells.paths[i] for i in left}:
        return left, f"test fold {own_fold} of {config.data.get('folds')}, never used in training"
    return left, f"the images that were not seen in training ({int(known.sum())} that were are left out)"


def _read_seen(folder: Path, *, needed: bool) -> _Seen:
    path = Path(folder) / "split.json"
    if not path.is_file():
        if needed:
            raise DataError(
                f"{path}: missing, so nobody can say which images the model was trained on; "
                "test on another center, or copy the whole run folder"
            )
        return _Seen()
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        train, validation, test = (frozenset(facts[part]) for part in PARTS)
        digests = frozenset(facts["digests"]["train"]) | frozenset(facts["digests"]["validation"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: damaged ({error!r}); copy the run folder again") from error
    return _Seen(train | validation, digests, test)
