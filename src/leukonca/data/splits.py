"""Training, validation and test cells: stratified, seeded, the same on every machine; duplicates, and a patient's
cells where patients are known, on one side."""

import hashlib
import json
import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from leukonca.data.cells import Cells, group_numbers
from leukonca.data.listing import named
from leukonca.errors import DataError, UsageError
from leukonca.files import fingerprint, json_text, write_text
from leukonca.taxonomy import CLASSES

FORMAT = 1
"""Of the file that `write_split` writes."""

_REMEDY = "add images of it, leave the class out, or use fewer folds"

_PATIENTS_REMEDY = "add patients who have it, leave the class out, or use fewer folds"

PARTS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """Which cells are trained on, which are watched during training, and which are only tested on.

    Args:
        train, validation, test: int64 positions in the cells, sorted, disjoint, together all of them.
        fold: which of the folds is the test fold, from 0.
        folds: how many folds there are.
        seed: of the shuffling.
        official: the center published it; there are no folds.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]
    fold: int
    folds: int
    seed: int
    official: bool = False


@dataclass(frozen=True)
class _Unit:
    """What cannot be divided: one image, several byte-identical ones, or all of a patient."""

    members: tuple[int, ...]
    classes: Mapping[int, int]
    key: bytes


def split_cells(cells: Cells, *, fold: int, folds: int = 5, seed: int = 0, validation_share: float = 0.125) -> Split:
    """Divide cells into stratified folds, one of them the test fold, and validation cells from the others.

    An image's place follows from the seed and the paths of all images, shuffled by SHA-256: no random generator, no
    order of files has a part in it. Within a class, fold sizes differ by one image at most where duplicates allow it.
    Where the cells know their patients, whole patients are dealt out, so that each fold holds about as many of every
    class as patients allow.

    Args:
        cells: with `groups`: byte-identical images stay on one side; with `patients`: so do a patient's.
        fold: the test fold, 0 .. folds - 1.
        folds: how many.
        seed: of the shuffling; the same for all folds of one experiment.
        validation_share: of the training folds, per class, in [0, 1); a class gives one image at least. 0: none.

    Raises:
        UsageError: no such fold, fewer than 2 folds, or a share outside [0, 1).
        DataError: a class too small, or of too few patients, to appear in each of the three parts.

    Source: the protocol of Deutges et al. 2024 (stratified 5-fold), except that validation never sees test cells.
    """
    if folds < 2 or not 0 <= fold < folds:
        raise UsageError(f"fold {fold} of {folds}: needs 2 folds or more, and a fold from 0 to folds - 1")
    if not 0 <= validation_share < 1:
        raise UsageError(f"validation_share={validation_share}: a share of the training folds, from 0 to below 1")
    units = _units(cells, f"fold {seed}")
    _check_sizes(cells, units, folds)
    deal = _fold_of_patients if cells.patients else _fold_of_units
    test_fold = deal(units, folds)
    test = _members(unit for unit, place in zip(units, test_fold, strict=True) if place == fold)
    training = [unit for unit, place in zip(units, test_fold, strict=True) if place != fold]
    choose = _choose_patients if cells.patients else _choose
    chosen = choose(training, validation_share, f"validation {seed} {fold}")
    validation = _members(unit for unit in training if unit.members in chosen)
    train = _members(unit for unit in training if unit.members not in chosen)
    parts = {"train": train, "validation": validation, "test": test}
    _check_parts(cells, {name: part for name, part in parts.items() if name != "validation" or validation_share})
    return Split(train, validation, test, fold, folds, seed)


def write_split(path: Path, split: Split, cells: Cells) -> None:
    """Write a split as JSON, by relative paths, so that it can be read by people and applied elsewhere.

    The files' digests stand beside, so that a test can leave out what was trained on under any name.
    """
    write_text(path, _text(split, cells))


def split_digest(split: Split, cells: Cells) -> str:
    """SHA-256, hex, of the file that `write_split` writes: the same for the same parts of the same images."""
    return hashlib.sha256(_text(split, cells).encode("utf-8")).hexdigest()


def _text(split: Split, cells: Cells) -> str:
    digests = short_digests(cells)
    return json_text(
        {
            "format": FORMAT,
            "center": cells.center,
            "cells": _identity(cells),
            "fold": split.fold,
            "folds": split.folds,
            "seed": split.seed,
            **({"official": True} if split.official else {}),
            **({"patients": patients_of(split, cells)} if cells.patients else {}),
            **{part: [cells.paths[i] for i in getattr(split, part)] for part in PARTS},
            "digests": {part: [digests[i] for i in getattr(split, part)] for part in PARTS},
        }
    )


def patients_of(split: Split, cells: Cells) -> dict[str, int]:
    """How many patients each part of a split holds; cells must know them."""
    return {part: len({cells.patients[i] for i in getattr(split, part)}) for part in PARTS}


def told_patients(split: Split, cells: Cells) -> str:
    """What `patients_of` finds, in words."""
    number = patients_of(split, cells)
    return f"{number['train']} to train on, {number['validation']} to watch, {number['test']} for the test"


def short_digests(cells: Cells) -> tuple[str, ...]:
    """The first 16 hex digits of each file's SHA-256: enough to recognise a file among millions."""
    return tuple(digest[:16] for digest in cells.digests)


def read_split(path: Path, cells: Cells) -> Split:
    """Read a split back and apply it to the same cells, decoded with the same or with other settings.

    Args:
        path: what `write_split` wrote.
        cells: must hold the same files with the same labels.

    Raises:
        DataError: the file is missing or damaged, the cells are not those that were split, or byte-identical
            files would lie on two sides.
    """
    path = Path(path)
    facts, listed = _read(path)
    if facts["center"] != cells.center:
        raise DataError(f"{path}: splits cells of center {facts['center']}, not of {cells.center}")
    position = {name: i for i, name in enumerate(cells.paths)}
    all_listed = Counter(name for part in PARTS for name in listed[part])
    missing = [name for name in all_listed if name not in position]
    added = [name for name in cells.paths if name not in all_listed]
    if missing or added:
        gone = f"{len(missing)} of its images are missing ({named(missing)})" if missing else ""
        new = f"{len(added)} images are not in it ({named(added)})" if added else ""
        raise DataError(f"{path}: not a split of these cells: {', '.join(filter(None, (gone, new)))}; split anew")
    if any(count > 1 for count in all_listed.values()):
        twice = named(name for name, count in all_listed.items() if count > 1)
        raise DataError(f"{path}: damaged: images are listed twice ({twice}); split anew")
    if facts["cells"] != _identity(cells):
        raise DataError(f"{path}: not a split of these cells: their labels have changed; split anew")
    parts = {part: np.array(sorted(position[name] for name in listed[part]), dtype=np.int64) for part in PARTS}
    official = facts.get("official") is True
    if not official:  # an official split is taken as it is, duplicates on two sides included
        _check_sides(path, cells, parts)
    return Split(**parts, fold=facts["fold"], folds=facts["folds"], seed=facts["seed"], official=official)


def _units(cells: Cells, salt: str) -> list[_Unit]:
    """All units in shuffled order. The folders that all paths share do not count: an extra one on top of the
    published ones changes nothing."""
    shared = posixpath.commonpath(cells.paths) if len(cells.paths) > 1 else ""
    members: dict[int, list[int]] = defaultdict(list)
    for i, group in enumerate(_inseparable(cells).tolist()):
        members[group].append(i)
    units = []
    for together in members.values():
        name = min(cells.paths[i] for i in together)[len(shared) :].lstrip("/")
        classes = Counter(int(cells.labels[i]) for i in together)
        units.append(_Unit(tuple(together), classes, _shuffle_key(salt, name)))
    return sorted(units, key=lambda unit: unit.key)


def _inseparable(cells: Cells) -> NDArray[np.int64]:
    """Equal numbers for cells that belong on one side, int64 [N]: byte-identical ones, a patient's, and what these
    hold together: two patients with a file in common are divided no more."""
    if not cells.patients:
        return cells.groups
    groups, patients = group_numbers(list(map(str, cells.groups.tolist()))), group_numbers(cells.patients)
    size = int(groups.max()) + 1 + int(patients.max()) + 1
    links = coo_array((np.ones(len(groups)), (groups, patients + groups.max() + 1)), shape=(size, size))
    together: NDArray[np.int64] = connected_components(links, directed=False)[1][groups].astype(np.int64)
    return together


def _shuffle_key(salt: str, name: str) -> bytes:
    return hashlib.sha256(f"{salt}/{name}".encode("utf-8", "surrogateescape")).digest()


def _fold_of_units(units: Sequence[_Unit], folds: int) -> list[int]:
    """Deal units out, the large ones first, then class by class, each to the fold that has the least of its
    classes, then the least of all."""
    held = [Counter[int]() for _ in range(folds)]
    place = [0] * len(units)
    for i in sorted(range(len(units)), key=lambda i: (-len(units[i].members), min(units[i].classes))):
        classes = units[i].classes
        fold = min(
            range(folds),
            key=lambda f: (sum(held[f][c] * n for c, n in classes.items()), held[f].total(), f),
        )
        held[fold].update(classes)
        place[i] = fold
    return place


def _fold_of_patients(units: Sequence[_Unit], folds: int) -> list[int]:
    """Deal patients out, those with the largest shares of any class first, each to the fold where the shares of its
    classes are lowest: the squares of all folds' shares of all classes stay as small as they can step by step."""
    sizes: Counter[int] = Counter()
    for unit in units:
        sizes.update(unit.classes)
    shares = [{label: unit.classes[label] / sizes[label] for label in sorted(unit.classes)} for unit in units]
    held = [dict.fromkeys(sizes, 0.0) for _ in range(folds)]
    number = [0] * folds
    place = [0] * len(units)
    for i in sorted(range(len(units)), key=lambda i: -max(shares[i].values())):
        fold = min(range(folds), key=lambda f: (sum(held[f][c] * n for c, n in shares[i].items()), number[f], f))
        for label, share in shares[i].items():
            held[fold][label] += share
        number[fold] += len(units[i].members)
        place[i] = fold
    return place


def _choose_patients(units: Sequence[_Unit], share: float, salt: str) -> set[tuple[int, ...]]:
    """Members of the patients that hold about a share of every class, a patient of each class at least where two
    patients or more have it: one of as many folds as make up that share."""
    if share == 0 or not units:
        return set()
    having = Counter(label for unit in units for label in unit.classes)
    folds = max(2, min(round(1 / share), *having.values(), len(units)))
    reshuffled = sorted(units, key=lambda unit: _shuffle_key(salt, unit.key.hex()))
    places = _fold_of_patients(reshuffled, folds)
    return {unit.members for unit, place in zip(reshuffled, places, strict=True) if place == 0}


def _choose(units: Sequence[_Unit], share: float, salt: str) -> set[tuple[int, ...]]:
    """Members of the units that make up a share of every class, one image of each class at least."""
    if share == 0:
        return set()
    sizes: Counter[int] = Counter()
    for unit in units:
        sizes.update(unit.classes)
    room = Counter({label: max(1, round(share * size)) for label, size in sizes.items()})
    chosen = set()
    reshuffled = sorted(units, key=lambda unit: _shuffle_key(salt, unit.key.hex()))
    for unit in sorted(reshuffled, key=lambda unit: -len(unit.members)):
        if all(room[label] >= size for label, size in unit.classes.items()):
            room.subtract(unit.classes)
            chosen.add(unit.members)
    return chosen


def _members(units: Iterable[_Unit]) -> NDArray[np.int64]:
    return np.array(sorted(i for unit in units for i in unit.members), dtype=np.int64)


def _check_sizes(cells: Cells, units: Sequence[_Unit], folds: int) -> None:
    different = Counter(label for unit in units for label in unit.classes)
    for label in sorted(different):
        if different[label] < folds:
            if cells.patients:
                raise DataError(
                    f"{cells.center}: class {cells.classes[label]} comes from only {different[label]} patients, and "
                    f"each of {folds} folds needs one; {_PATIENTS_REMEDY}"
                )
            raise DataError(
                f"{cells.center}: class {cells.classes[label]} has only {different[label]} different images of "
                f"{int((cells.labels == label).sum())}, and each of {folds} folds needs one; {_REMEDY}"
            )


def _check_parts(cells: Cells, parts: Mapping[str, NDArray[np.int64]]) -> None:
    for label in np.unique(cells.labels).tolist():
        absent = [name for name, part in parts.items() if label not in cells.labels[part]]
        if absent:
            if cells.patients:
                having = len({cells.patients[i] for i in np.flatnonzero(cells.labels == label)})
                raise DataError(
                    f"{cells.center}: class {cells.classes[label]} comes from {having} patients, and none is left for "
                    f"{' and '.join(absent)}: too few have it, or one has most of it; {_PATIENTS_REMEDY}"
                )
            raise DataError(
                f"{cells.center}: class {cells.classes[label]} has only {int((cells.labels == label).sum())} images, "
                f"none is left for {' and '.join(absent)}; {_REMEDY}"
            )


def _identity(cells: Cells) -> str:
    """Which files with which labels: not how they were decoded, so that one split serves models of any size."""
    names = () if cells.classes == CLASSES else (cells.classes,)
    return fingerprint("split", cells.center, cells.paths, cells.labels.tolist(), *names)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, list[str]]]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        whole = all(isinstance(facts[name], int) for name in ("format", "fold", "folds", "seed")) and all(
            isinstance(facts[name], str) for name in ("center", "cells")
        )
        listed = {part: list(facts[part]) for part in PARTS}
        if not (whole and all(isinstance(name, str) for part in PARTS for name in listed[part])):
            raise DataError(f"{path}: damaged: not what a split looks like; split anew")
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; a run folder holds a split.json") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: damaged, cannot be read as a split ({error}); split anew") from error
    if facts["format"] != FORMAT:
        raise DataError(f"{path}: a split of format {facts['format']}; this version reads {FORMAT}")
    return facts, listed


def _check_sides(path: Path, cells: Cells, parts: Mapping[str, NDArray[np.int64]]) -> None:
    together = _inseparable(cells)
    what = "images of one patient" if cells.patients else "byte-identical images"
    side_of: dict[int, str] = {}
    for part, members in parts.items():
        for group in together[members].tolist():
            if side_of.setdefault(group, part) != part:
                twins = named(cells.paths[i] for i in np.flatnonzero(together == group))
                raise DataError(f"{path}: {what} on two sides, {side_of[group]} and {part}: {twins}; split anew")
