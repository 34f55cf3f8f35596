"""What a model folder says about its model, as ``config.json``; read and written without torch."""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from leukonca.data.colors import Color
from leukonca.data.preprocessing import Preprocessing
from leukonca.errors import LeukoncaError, ModelError
from leukonca.models.architecture import AnyArchitecture
from leukonca.models.registry import DEFAULT, architecture_from_json, kind_of
from leukonca.taxonomy import CLASSES

FORMAT = 1
"""Raised when an older leukonca could no longer read the folder."""


@dataclass(frozen=True)
class ModelConfig:
    """Everything but the weights.

    Args:
        architecture: of a kind in `leukonca.models.registry`.
        classes: names, in the order of the outputs.
        preprocessing: crop and size of an image.
        image_um: what the shorter side of the training center's images shows, um: the assumption about any
            image of unknown scale. None: unknown, whole images are used.
        mean: of the training images' red, green and blue, with 0..1 the full range; None: never fitted.
        std: likewise.
        temperature: logits are divided by it.
        varied_temperature: by which those of varied runs are (`leukonca.data.varied`), chosen for eight of them; None:
            it was never chosen.
        thresholds: ``uncertain``: a cell whose largest probability is below is flagged so. None of a name: it was
            never chosen.
        calibration: how temperature and thresholds were chosen, and what they reach on validation images.
        trained_classes: names of the classes that the training images held.
        recipe: settings of the training run.
        data: center, fingerprint and numbers of the training images.
        metrics: of the test.
        version: of leukonca that wrote it.
    """

    architecture: AnyArchitecture
    classes: tuple[str, ...] = CLASSES
    preprocessing: Preprocessing = field(default_factory=lambda: Preprocessing(grid=64))
    image_um: float | None = None
    mean: Color | None = None
    std: Color | None = None
    temperature: float = 1.0
    varied_temperature: float | None = None
    thresholds: dict[str, float] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)
    trained_classes: tuple[str, ...] = ()
    recipe: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    version: str = ""

    def __post_init__(self) -> None:
        names = [name for name in self.classes if isinstance(name, str) and name]
        if not names or len(set(names)) != len(self.classes):
            raise ModelError(f"classes {self.classes}: must be distinct names, at least one")
        for name in ("temperature", "varied_temperature", "image_um"):
            value = getattr(self, name)
            if name != "temperature" and value is None:
                continue
            if not (math.isfinite(value) and value > 0):
                raise ModelError(f"{name} {value}: must be a positive number")
        for name in ("mean", "std"):
            color = getattr(self, name)
            if color is not None and (len(color) != 3 or not all(math.isfinite(value) for value in color)):
                raise ModelError(f"{name} {color}: must be three numbers, of red, green and blue")
        if self.std is not None and min(self.std) <= 0:
            raise ModelError(f"std {self.std}: must be positive")
        for name in ("recipe", "data", "metrics", "thresholds", "calibration"):
            if not isinstance(getattr(self, name), dict):
                raise ModelError(
                    f"{name} is a {type(getattr(self, name)).__name__}: must be a table of names and values"
                )
        for name, each_is in (("pretrained", "an earlier training"), ("teachers", "a model")):
            told = self.data.get(name, [])
            if not isinstance(told, list | tuple) or not all(isinstance(each, dict) for each in told):
                raise ModelError(f"{name} is {told!r}: must be a list of tables, one {each_is}")
        for name, value in self.thresholds.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ModelError(f"threshold {name} is {value!r}: must be a number")

    @property
    def pretrained(self) -> tuple[dict[str, Any], ...]:
        """Facts about the trainings that the model had behind it when its own began, the last one first."""
        return tuple(self.data.get("pretrained", ()))

    @property
    def learned_elsewhere(self) -> bool:
        """Whether one of these trainings was on other images than its own, or on another split of them."""
        return not all(each.get("same_images") for each in self.pretrained)

    @property
    def teachers(self) -> tuple[dict[str, Any], ...]:
        """Facts about the models whose probabilities the training followed."""
        return tuple(self.data.get("teachers", ()))

    def temperature_of(self, *, varied: bool) -> float:
        """What the logits of a run are divided by: of varied runs their own temperature, if one was chosen."""
        return self.varied_temperature if varied and self.varied_temperature is not None else self.temperature

    def normalisation(self) -> tuple[Color, Color]:
        """Mean and standard deviation of the training center's colors.

        Raises:
            ModelError: the model was never fitted to a center.
        """
        if self.mean is None or self.std is None:
            raise ModelError("this model holds no color statistics: set mean and std in its config, or train it")
        return self.mean, self.std


def scale_for(config: ModelConfig, image_um: float | None) -> float | None:
    """What to take an image's shorter side for, um: what is known of it, else that it is like those trained on.

    None: unknown; `leukonca.data.preprocessing.scale_of` then guesses it, or the whole image is used.
    """
    if image_um is not None or config.preprocessing.nucleus_um is not None:
        return image_um
    return config.image_um


def to_json(config: ModelConfig) -> dict[str, Any]:
    """As plain JSON types."""
    return {"format": FORMAT, "kind": kind_of(config.architecture), **asdict(config)}


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
        written = raw["format"]
    except FileNotFoundError as error:
        unfinished = (Path(folder) / "checkpoint.safetensors").exists()
        why = (
            "its training is not finished: go on with --resume"
            if unfinished
            else "`leukonca train` writes model folders"
        )
        raise ModelError(f"{folder}: no config.json there; {why}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error
    if written != FORMAT:
        raise ModelError(f"{path}: format {written}; this leukonca reads format {FORMAT}: update it")
    try:
        digest = str(raw["weights_sha256"])
        known = {name: raw[name] for name in ModelConfig.__dataclass_fields__ if name in raw}
        known["architecture"] = architecture_from_json(raw.get("kind", DEFAULT), known["architecture"])
        known["preprocessing"] = Preprocessing(**known["preprocessing"])
        for name in ("classes", "mean", "std", "trained_classes"):
            if known.get(name) is not None:
                known[name] = tuple(known[name])
        return ModelConfig(**known), digest
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise _damaged(path, error) from error


def read_digest(folder: Path, name: str) -> str | None:
    """The SHA-256 that ``config.json`` gives under a name for a file that not every model has; None: it has none.

    Raises:
        ModelError: as `read_config`.
    """
    read_config(folder)
    digest = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8")).get(name)
    return None if digest is None else str(digest)


def _damaged(path: Path, error: Exception) -> ModelError:
    reason = f"{error}" if isinstance(error, LeukoncaError) else f"{type(error).__name__}: {error}"
    return ModelError(f"{path}: damaged ({reason}); copy the model folder again")
