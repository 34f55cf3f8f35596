from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from leukonca.data.augmentation import Augmentation
from leukonca.data.cells import Cells
from leukonca.data.preprocessing import Preprocessing
from leukonca.data.splits import Split, split_cells
from leukonca.data.synthetic import SYNTHETIC_CENTERS, synthetic_cells
from leukonca.models.presets import Architecture
from leukonca.taxonomy import CLASSES
from leukonca.training.loop import train
from leukonca.training.recipe import Recipe

SEEN = ("eosinophil", "lymphocyte_typical", "smudge_cell")


@pytest.fixture(scope="session")
def cells() -> Cells:
    """24 synthetic cells of three classes."""
    every, _ = synthetic_cells(SYNTHETIC_CENTERS[0], 8, 0, Preprocessing(grid=16, margin=2), quiet=True)
    kept = np.flatnonzero(np.isin(every.labels, [CLASSES.index(name) for name in SEEN]))
    return replace(
        every,
        paths=tuple(every.paths[i] for i in kept),
        digests=tuple(every.digests[i] for i in kept),
        labels=every.labels[kept],
        images=every.images[kept],
        groups=np.arange(len(kept), dtype=np.int64),
    )


@pytest.fixture(scope="session")
def split(cells: Cells) -> Split:
    return split_cells(cells, fold=0, folds=4)


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    """Three epochs of four steps, with everything switched on that a resumed run must get right."""
    return Recipe(
        architecture=Architecture(channels=8, hidden=16, steps=4, grid=16),
        augmentation=Augmentation(stain=0.1),
        margin=2,
        epochs=3,
        draws=14,
        batch_size=4,
        learning_rate=1e-2,
        muon_rate=2e-2,
        schedule="cosine",
        warmup=3,
        clip=1.0,
        average=0.9,
        small_grid=10,
        small_grid_epochs=1,
    )


@pytest.fixture(scope="session")
def parent(cells: Cells, split: Split, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parent") / "first"
    train(cells, split, recipe, folder, quiet=True)
    return folder


@pytest.fixture(scope="session")
def others(cells: Cells) -> Cells:
    """The same number of cells with other bytes, names and colors: another laboratory's."""
    darker = (cells.images * np.array([0.8, 0.7, 0.9])).astype(np.uint8)
    return replace(
        cells,
        center="folder",
        fingerprint="e" * 64,
        images=darker,
        paths=tuple(f"{path}.other.png" for path in cells.paths),
        digests=tuple(digest[::-1] for digest in cells.digests),
    )
