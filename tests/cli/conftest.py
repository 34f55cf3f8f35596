import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from leukonca import NCAClassifier
from leukonca.cli import main
from leukonca.data.synthetic import write_synthetic

SMALL = ["--preset", "tiny", "--channels", "8", "--hidden", "12", "--steps", "4", "--grid", "16", "--epochs", "2"]
"""A run of seconds."""


@pytest.fixture(scope="session")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class-named folders of synthetic cells, six of each class."""
    folder = tmp_path_factory.mktemp("laboratory") / "cells"
    write_synthetic(folder, "synthetic_cream", 6, seed=1, quiet=True)
    return folder


@pytest.fixture(scope="session")
def trained(laboratory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder made by ``leukonca train``."""
    out = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEUKONCA_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        assert main(["train", "--data", f"folder={laboratory}", "--out", str(out), *SMALL, "--quiet"]) == 0
    return out


@pytest.fixture
def odd_name(tmp_path: Path) -> str:
    """A name that is no UTF-8. Some file systems refuse such names, and then there is nothing to test."""
    name = os.fsdecode(b"\xff")
    try:
        (tmp_path / name).touch()
    except OSError:
        pytest.skip("this file system takes no names but in UTF-8")
    (tmp_path / name).unlink()
    return name


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a tiny automaton with weights by chance."""
    torch.manual_seed(3)
    network = NCAClassifier(preset="tiny")
    torch.nn.init.normal_(network.update_weight, std=0.1)
    colors = {"mean": (0.7, 0.6, 0.65), "std": (0.2, 0.25, 0.15)}
    recipe = {"balance": True, "loss": "cross_entropy"}
    network.config = replace(network.config, recipe=recipe, **colors)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    network.save(folder)
    return str(folder)


@pytest.fixture
def cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with three cells in ``cells``."""
    (tmp_path / "cells" / "deep").mkdir(parents=True)
    for i, name in enumerate(("a.png", "b.jpg", "deep/c.tif")):
        Image.new("RGB", (40, 30), (60 * i, 90, 200)).save(tmp_path / "cells" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path
