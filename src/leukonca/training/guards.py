"""What keeps a run from starting wrongly or from going on in vain."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leukonca.data.cells import Cells
from leukonca.data.splits import Split
from leukonca.errors import DataError, ModelError, UsageError
from leukonca.files import check_folder, fingerprint
from leukonca.locks import only_one
from leukonca.training.checkpoint import Checkpoint, read_checkpoint
from leukonca.training.distributed import is_first, no_device
from leukonca.training.pretrained import Pretrained
from leukonca.training.recipe import Recipe, to_json
from leukonca.training.teacher import taught_by


def check_seed_and_device(seed: int, device: str) -> None:
    """Raise a `UsageError` for a seed out of range or a device that is not there."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise UsageError(f"seed {seed!r}: must be a whole number in [0, 2^32)")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise no_device(device, error) from error


def check_parts(cells: Cells, split: Split, *, scale_guessed: bool = False) -> None:
    """Raise unless there is something to learn and something to watch it by.

    Args:
        cells: of one center.
        split: of these cells.
        scale_guessed: images of unknown scale are cut by their nucleus.

    Raises:
        DataError: no image to train on of some class, or none for validation.
        UsageError: a field in um is to be cut from images of unknown scale.
    """
    for label in np.unique(cells.labels).tolist():
        if not (cells.labels[split.train] == label).any():
            raise DataError(
                f"{cells.center}: class {cells.classes[label]} has {(cells.labels == label).sum()} images, none of "
                "them in the training folds; add images of it or remove its folder"
            )
    if cells.image_um is None and cells.preprocessing.field_um is not None and not scale_guessed:
        raise UsageError(
            f"{cells.center}: nothing says what an image shows, so no {cells.preprocessing.field_um:g} um can be "
            "cut from it; give its scale (--image-um), or train on whole images (field_um=None)"
        )
    if len(split.validation) == 0:
        raise DataError(f"{cells.center}: no image is left for validation; use more images or fewer folds")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes from training in a folder meanwhile; it is made if needed.

    Under ``torchrun`` only rank 0 locks.

    Raises:
        UsageError: another process trains there, or it cannot be written to.
    """
    if not is_first():
        yield
        return
    check_folder(folder)

    def refuse(who: str) -> None:
        raise UsageError(f"{folder}: {who} is training there; wait for its end, or choose another --out")

    with only_one(folder / ".lock", refuse, remove=True):
        yield


def run_of(
    cells: Cells,
    split: Split,
    recipe: Recipe,
    seed: int,
    *,
    pretrained: Pretrained | None = None,
    teachers: Sequence[Pretrained] = (),
) -> str:
    """Fingerprint of a run: hex digits that change with anything that its weights follow from."""
    others = [*(() if pretrained is None else (pretrained.fingerprint,)), *taught_by(teachers)]
    parts = split.train.tolist(), split.validation.tolist()
    return fingerprint(to_json(recipe), seed, cells.fingerprint, *parts, *others)


def check_free(folder: Path, *, resume: bool) -> Checkpoint | None:
    """The checkpoint of the run in a folder, if there is one and it may be gone on with.

    Args:
        folder: of a run; it need not be there.
        resume: whether to go on is allowed.

    Raises:
        UsageError: the folder holds a run and `resume` is off, or a model without a checkpoint.
        ModelError: its checkpoint is damaged.
    """
    found = read_checkpoint(folder) if folder.is_dir() else None
    if found is not None and not resume:
        raise UsageError(
            f"{folder}: already holds a run of {found.epochs_done} epochs; add --resume, or choose another --out"
        )
    if found is None and (folder / "config.json").exists():
        raise UsageError(f"{folder}: already holds a model, and no checkpoint to go on from; choose another --out")
    return found


def start_from(folder: Path, run: str, *, resume: bool) -> Checkpoint | None:
    """The checkpoint that a run goes on from; None: it starts anew. Half-written files of a killed run are removed.

    Args:
        folder: of the run.
        run: its fingerprint, see `run_of`.
        resume: whether to go on is allowed.

    Raises:
        UsageError: see `check_free`; or the folder's run has other settings, data or models behind it.
        ModelError: its checkpoint is damaged.
    """
    found = check_free(folder, resume=resume)
    if found is not None and found.run != run:
        raise UsageError(
            f"{folder}: its run has other settings, data or seed (see recipe.json there); "
            "resume with the same, or choose another --out"
        )
    if is_first():
        for debris in folder.glob(".*.????????.part"):  # as `whole_file` names them
            debris.unlink(missing_ok=True)
    return found


def check_finite(values: Tensor, folder: Path, history: list[dict[str, Any]]) -> None:
    """Raise `diverged` unless all values are finite."""
    if not bool(torch.isfinite(values).all()):
        raise diverged(folder, history)


def diverged(folder: Path, history: list[dict[str, Any]]) -> ModelError:
    """The error of a training that went wrong, after the epochs of `history`."""
    done = len(history)
    stays = f"the checkpoint of epoch {done} stays in {folder}" if done else "no epoch was finished yet"
    return ModelError(
        f"epoch {done + 1}: the loss is no longer finite; {stays}. Try a lower --learning-rate or a smaller --clip"
    )
