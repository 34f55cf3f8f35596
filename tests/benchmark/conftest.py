import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from leukonca.cli import main
from leukonca.data.synthetic import write_synthetic

SMALL = ["--size", "tiny", "--folds", "2", "--quiet", "--set"]
SMALL += [f"nca.{each}" for each in ("channels=4", "hidden=16", "steps=1", "grid=8", "epochs=12", "batch_size=4")]
SMALL += [f"nca.{each}" for each in ("average=0", "warmup=0", "learning_rate=0.01", "validation_images=13")]
"""Trainings of less than a second, after which a model says more than one class."""

CENTERS = {"cream": 8, "lilac": 6}
"""Cells of each class."""

CLASSES = ("basophil", "eosinophil", "lymphocyte_typical", "neutrophil_segmented")
"""That both centers have; lilac has smudge cells as well."""


@contextmanager
def one_thread() -> Iterator[None]:
    """These models are so small that threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="session")
def centers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of synthetic cells, `cream` and `lilac`; and `few`, too small to be trained on."""
    folder = tmp_path_factory.mktemp("centers")
    for name, count in CENTERS.items():
        kept = (*CLASSES, "smudge_cell") if name == "lilac" else CLASSES
        write_synthetic(folder / name, f"synthetic_{name}", count, seed=1, classes=kept, quiet=True)
    write_synthetic(folder / "few", "synthetic_yellow", 1, seed=1, quiet=True)
    return folder


def cross_center(centers: Path, out: Path, *words: str) -> int:
    """``leukonca benchmark cross-center`` of the automaton on both centers."""
    data = [f"folder={centers / name}" for name in CENTERS]
    call = ["benchmark", "cross-center", "--data", *data, "--models", "nca", "--out", str(out)]
    return main([*call, "--protocols", "strict", "paper", *SMALL, *words])


@pytest.fixture(scope="session")
def finished(centers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a benchmark that ran through in one go."""
    out = tmp_path_factory.mktemp("finished") / "out"
    with pytest.MonkeyPatch.context() as patch, one_thread():
        patch.setenv("LEUKONCA_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        assert cross_center(centers, out) == 0
    return out


def results(out: Path) -> dict[str, bytes]:
    """Every file whose content must not depend on how often a run was stopped, or where it lies."""
    kept = [*out.glob("*.csv"), *out.glob("*.svg"), *out.glob("table.tex"), *(out / "tests").rglob("*.csv")]
    kept += out.glob("trainings/**/model.safetensors")
    return {os.fspath(path.relative_to(out)): path.read_bytes() for path in kept}
