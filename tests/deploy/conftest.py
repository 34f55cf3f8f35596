from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from leukonca import NCAClassifier
from leukonca.data.preprocessing import Preprocessing
from leukonca.models.presets import PoolingName


@pytest.fixture
def save_model(tmp_path: Path) -> Callable[..., Path]:
    """Writes a model folder with random weights that answers differently for different images."""

    def save(name: str = "model", *, strength: float = 0.1, pooling: PoolingName | None = None, **config: Any) -> Path:
        torch.manual_seed(3)
        model = NCAClassifier(preset="tiny", pooling=pooling)
        if pooling == "attention":
            torch.nn.init.normal_(model.attention, std=2)
        torch.nn.init.normal_(model.update_weight, std=strength)
        torch.nn.init.normal_(model.head[2].weight, std=0.5)
        known = {"mean": (0.7, 0.6, 0.65), "std": (0.2, 0.25, 0.15), "image_um": 36.0, "temperature": 1.7}
        field = Preprocessing(grid=24, margin=5, field_um=28.0)
        model.config = replace(model.config, **{"preprocessing": field, **known, **config})
        model.save(tmp_path / name)
        return tmp_path / name

    return save
