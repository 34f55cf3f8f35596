"""Nine files in three classes, and who looks at them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leukonca.data import cells as cells_module


@pytest.fixture
def folder(tmp_path) -> Path:
    """Nine files in three classes; two are byte-identical across classes."""
    root, rng = tmp_path / "own", np.random.default_rng(0)
    for name in ("basophil", "eosinophil", "smudge_cell"):
        (root / name).mkdir(parents=True)
        for i in range(3):
            pixels = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    shutil.copyfile(root / "basophil" / "1.png", root / "smudge_cell" / "2.png")
    return root


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """Names of the files that were decoded, in order."""
    seen, read = [], cells_module.read_image

    def noted(path: Path) -> np.ndarray:
        seen.append(path.name)
        return read(path)

    monkeypatch.setattr(cells_module, "read_image", noted)
    return seen
