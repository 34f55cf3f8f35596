"""What a model folder says about its model, as ``config.json``; read and written without torch."""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from leukonca.data.preprocessing import Preprocessing
from leukonca.errors import LeukoncaError, ModelError
from leukonca.models.presets import Architecture
from leukonca.taxonomy import CLASSES

FORMAT = 1
"""Raised when an older leukonca could no longer read the folder."""

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class ModelConfig:
    """Everything but the weights.

    Args:
        architecture: of the automaton and head.
        classes: names, in the order of the outputs.
        preprocessing: crop and size of an image.
        image_um: what the shorter side of the training center's images shows, um: the assumption about any
            image of unknown scale. None: unknown, whole images are used.
        mean: of the training images' red, green and blue, with 0..1 the full range; None: never fitted.
        std: likewise.
        temperature: logits are divided by it.
        trained_classes: names of the classes that the training images held.
        recipe: settings of the training run.
        data: center, fingerprint and numbers of the training images.
        metrics: of the test.
        version: of leukonca that wrote it.
    """

    architecture: Architecture
    classes: tuple[str, ...] = CLASSES
    preprocessing: Preprocessing = field(default_factory=lambda: Preprocessing(grid=64))
    image_um: float | None = None
    mean: Colour | None = None
    std: Colour | None = None
    temperature: float = 1.0
    trained_classes: tuple[str, ...] = ()
    recipe: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    version: str = ""

    def __post_init__(self) -> None:
        if len(set(self.classes)) != len(self.classes) or not self.classes:
            raise ModelError(f"classes {self.classes}: must be distinct names, at least one")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ModelError(f"temperature {self.temperature}: must be a positive number")
        if self.std is not None and min(self.std) <= 0:
            raise ModelError(f"std {self.std}: must be positive")

    def normalisation(self) -> tuple[Colour, Colour]:
        """Mean and standard deviation of the training center's colours.

        Raises:
            ModelError: the model was never fitted to a center.
        """
        if self.mean is None or self.std is None:
            raise ModelError("this model holds no colour statistics: set mean and std in its config, or train it")
        return self.mean, self.std


def to_json(config: ModelConfig) -> dict[str, Any]:
    """As plain JSON types."""
    return {"format": FORMAT, **asdict(config)}


def read_config(folder: Path) -> tuple[ModelConfig, str]:
    """Read ``config.json`` of a model folder.

    Returns:
        The config, and the SHA-256 that the weights must have.

    Raises:
        ModelError: missing, damaged, or written by a newer leukonca.
    """
    path = Path(folder) / "config.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw["format"] != FORMAT:
            raise ModelError(f"{path}: format {raw['format']}; this leukonca reads format {FORMAT}: update it")
        digest = str(raw["weights_sha256"])
        known = {name: raw[name] for name in ModelConfig.__dataclass_fields__ if name in raw}
        known["architecture"] = Architecture(**known["architecture"])
        known["preprocessing"] = Preprocessing(**known["preprocessing"])
        for name in ("classes", "mean", "std", "trained_classes"):
            if known.get(name) is not None:
                known[name] = tuple(known[name])
        return ModelConfig(**known), digest
    except FileNotFoundError as error:
        raise ModelError(f"{folder}: no config.json there; a model folder is what `leukonca train` writes") from error
    except ModelError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, LeukoncaError) as error:
        raise ModelError(f"{path}: damaged ({type(error).__name__}: {error}); copy the model folder again") from error
