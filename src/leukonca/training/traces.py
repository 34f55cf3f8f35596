"""What a run writes beside its checkpoint, so that its model can be understood and the run repeated."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from leukonca import __version__
from leukonca.data.cells import Cells
from leukonca.data.colors import Color
from leukonca.data.splits import Split, told_patients, write_split
from leukonca.files import write_json, write_text
from leukonca.models.config import ModelConfig
from leukonca.taxonomy import CLASSES
from leukonca.training.seen import EARLIER, Training, read_seen, write_earlier


def trained_config(
    blank: ModelConfig, cells: Cells, split: Split, settings: Mapping[str, Any], seed: int, colors: tuple[Color, Color]
) -> ModelConfig:
    """The config of a model that is about to be trained.

    Args:
        blank: of a new model; its architecture and classes stay.
        cells: of the training center.
        split: of these cells.
        settings: the recipe as plain JSON types.
        seed: of the run.
        colors: mean and standard deviation that its images are normalised with.
    """
    data: dict[str, Any] = {
        "center": cells.center,
        "fingerprint": cells.fingerprint,
        "files": cells.files_fingerprint,
        **({"split": "official"} if split.official else {"fold": split.fold, "folds": split.folds}),
        "training_images": len(split.train),
        "validation_images": len(split.validation),
        **({"patients": told_patients(split, cells)} if cells.patients else {}),
    }
    if cells.classes != CLASSES:  # what its outputs mean, for tests on centers with other labels
        data["comprises"] = {name: list(finer) for name, finer in cells.comprises.items()}
    return replace(
        blank,
        preprocessing=cells.preprocessing,
        image_um=cells.image_um,
        mean=colors[0],
        std=colors[1],
        trained_classes=tuple(cells.classes[label] for label in np.unique(cells.labels[split.train])),
        recipe={**settings, "seed": seed},
        data=data,
    )


def write_plan(
    folder: Path,
    config: ModelConfig,
    cells: Cells,
    split: Split,
    facts: Mapping[str, Any],
    *,
    earlier: Sequence[Training] = (),
    synthetic: bool,
) -> None:
    """Write ``recipe.json``, ``split.json`` and what was seen before; the config, changed in place, then knows them.

    Args:
        folder: of the run.
        config: from `trained_config`.
        cells: of the training center.
        split: of these cells.
        facts: of the run, beside recipe and seed.
        earlier: trainings that the model had behind it.
        synthetic: the images come from a generator.
    """
    began = [{"model": each.model, "weights_sha256": each.weights} for each in earlier]
    others = {"pretrained": began, "teachers": list(config.teachers)}
    told = {name: models for name, models in others.items() if models}
    facts = {**config.recipe, **facts, **told, "version": __version__, "data": cells.fingerprint}
    write_json(folder / "recipe.json", facts)
    write_split(folder / "split.json", split, cells)
    config.data["split_sha256"] = hashlib.sha256((folder / "split.json").read_bytes()).hexdigest()
    if earlier:
        config.data.update(write_earlier(folder / EARLIER, earlier, read_seen(folder, config, needed=True)))
    if synthetic or any(each.data.get("synthetic") for each in earlier):
        config.data["synthetic"] = True


def write_log(folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Write ``log.jsonl``, one line an epoch."""
    write_text(folder / "log.jsonl", "".join(json.dumps(line, allow_nan=False) + "\n" for line in history))
