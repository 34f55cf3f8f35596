from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from leukonca import NCAClassifier
from leukonca.data.preprocessing import Preprocessing


@pytest.fixture(scope="session")
def save_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a small model folder with random weights that answers differently for different images."""

    def save(*, strength: float = 0.1, pooling: str = "max", patch: int = 1, **config: Any) -> Path:
        torch.manual_seed(3)
        model = NCAClassifier(preset="tiny", pooling=pooling, patch=patch)
        torch.nn.init.normal_(model.update_weight, std=strength)
        torch.nn.init.normal_(model.head[2].weight, std=0.5)
        known = {"mean": (0.7, 0.6, 0.65), "std": (0.2, 0.25, 0.15), "image_um": 36.0, "temperature": 1.7}
        field = Preprocessing(grid=24, margin=5, field_um=28.0)
        model.config = replace(model.config, **{"preprocessing": field, **known, **config})
        folder = tmp_path_factory.mktemp("model")
        model.save(folder)
        return folder

    return save


@pytest.fixture(scope="session")
def model_folder(save_model: Callable[..., Path]) -> Path:
    return save_model()


@pytest.fixture(scope="session")
def cell() -> np.ndarray:
    """A synthetic cell, uint8 [96, 96, 3]."""
    from leukonca.data.synthetic import SYNTHETIC_CENTERS, draw_cell

    return draw_cell(SYNTHETIC_CENTERS[0], "eosinophil", 0, 3)[0]
