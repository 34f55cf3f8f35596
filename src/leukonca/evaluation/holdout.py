"""Which images of a center a model may honestly be tested on."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leukonca.data.cells import Cells
from leukonca.data.splits import split_cells
from leukonca.errors import DataError, UsageError
from leukonca.models.config import ModelConfig


def held_out(cells: Cells, config: ModelConfig, folder: Path, fold: int | None = None) -> tuple[NDArray[np.int64], str]:
    """Images that the model neither learned from nor was watched on, and a sentence that says which they are.

    On the center that the model was trained on, these are the images outside the training and validation parts of
    the run's ``split.json``: its test fold, and whatever the run did not have. On another center, all images, or the
    images of one fold.

    Args:
        cells: of one center.
        config: of the model.
        folder: of the model; its ``split.json`` is read.
        fold: test on this fold only; None: on all that may be tested on.

    Raises:
        UsageError: the fold is one that the model was trained on.
        DataError: the split is missing or damaged, or nothing is left to test on.
    """
    trained_on = config.data.get("center")
    if trained_on != cells.center or (cells.center == "folder" and not _same_folder(cells, folder)):
        if fold is None:
            return np.arange(len(cells), dtype=np.int64), "all images"
        parts = int(config.data.get("folds", 5))
        return split_cells(cells, fold=fold, folds=parts).test, f"fold {fold} of {parts}"
    own_fold, folds = config.data.get("fold"), config.data.get("folds")
    if fold is not None and fold != own_fold:
        raise UsageError(f"fold {fold}: this model was trained on it; its test fold is {own_fold} (leave --fold out)")
    seen = _seen_paths(folder)
    left = np.array([i for i, path in enumerate(cells.paths) if path not in seen], dtype=np.int64)
    # A byte-identical copy of a training image under another name has been seen as well.
    seen_groups = {int(cells.groups[i]) for i, path in enumerate(cells.paths) if path in seen}
    left = left[[int(cells.groups[i]) not in seen_groups for i in left]] if len(left) else left
    if len(left) == 0:
        raise DataError(f"{cells.center}: the model was trained on all of these images; none is left to test on")
    return left, f"test fold {own_fold} of {folds}, never used in training"


def _same_folder(cells: Cells, folder: Path) -> bool:
    """Two laboratories' folders are both center `folder`; only the one the run saw shares file names with it."""
    return not _seen_paths(folder).isdisjoint(cells.paths)


def _seen_paths(folder: Path) -> frozenset[str]:
    path = Path(folder) / "split.json"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return frozenset(facts["train"]) | frozenset(facts["validation"])
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: missing, so nobody can say which images the model was trained on; "
            "test on another center, or copy the whole run folder"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: damaged ({error}); copy the run folder again") from error
