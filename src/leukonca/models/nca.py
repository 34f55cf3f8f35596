"""The classifier: an automaton, a pooling and a small head, as a `torch.nn.Module`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from leukonca.automaton import engines
from leukonca.automaton.fire import check_seeds
from leukonca.automaton.rule import IMAGE_CHANNELS
from leukonca.data.preprocessing import Preprocessing
from leukonca.errors import DataError, ModelError, UsageError
from leukonca.models.config import ModelConfig
from leukonca.models.folder import Weights, write_model
from leukonca.models.presets import Architecture
from leukonca.models.presets import preset as named_preset
from leukonca.taxonomy import CLASSES

SMALLEST_GRID = 2
"""Reflect padding needs a neighbour on each side."""


class NCAClassifier(nn.Module):
    """A neural cellular automaton that classifies images of single cells.

    Source: Deutges et al. 2024 (arXiv 2404.05584), eq. 1-4 and section 2.

    Args:
        preset: `paper`, `compact` or `tiny`; the rest replaces single values of it.
        num_classes: outputs; 13 gives the harmonised classes, another number gives names class_0, class_1, ...
        classes: their names, instead of `num_classes`.
        channels, hidden, steps, fire_rate, grid, pooling: see `Architecture`.
        engine: `auto`, `reference`, `cpu` or `torch`; they give equal results.

    Raises:
        UsageError: values that describe no model.

    Example:
        >>> model = NCAClassifier(preset="tiny")
        >>> model(torch.zeros(2, 3, 24, 24), seed=0).shape
        torch.Size([2, 13])
    """

    def __init__(
        self,
        preset: str = "paper",
        *,
        num_classes: int | None = None,
        classes: tuple[str, ...] | None = None,
        channels: int | None = None,
        hidden: int | None = None,
        steps: int | None = None,
        fire_rate: float | None = None,
        grid: int | None = None,
        pooling: str | None = None,
        engine: str = "auto",
    ) -> None:
        super().__init__()
        given: dict[str, Any] = {
            "channels": channels,
            "hidden": hidden,
            "steps": steps,
            "fire_rate": fire_rate,
            "grid": grid,
            "pooling": pooling,
        }
        architecture = replace(
            named_preset(preset), **{name: value for name, value in given.items() if value is not None}
        )
        self.config = ModelConfig(
            architecture=architecture,
            classes=class_names(num_classes, classes),
            preprocessing=Preprocessing(grid=architecture.grid),
        )
        self.engine = engines.check_engine(engine)
        n, width = architecture.channels, architecture.hidden
        self.kernels = nn.Parameter(_uniform((2, n, 3, 3), fan_in=9))
        self.kernel_bias = nn.Parameter(_uniform((2, n), fan_in=9))
        self.hidden_weight = nn.Parameter(_uniform((width, 3 * n), fan_in=3 * n))
        self.hidden_bias = nn.Parameter(_uniform((width,), fan_in=3 * n))
        self.update_weight = nn.Parameter(torch.zeros(n, width))
        self.head = nn.Sequential(nn.Linear(n, width), nn.ReLU(), nn.Linear(width, len(self.config.classes)))

    @classmethod
    def from_architecture(
        cls, architecture: Architecture, *, classes: tuple[str, ...] = CLASSES, engine: str = "auto"
    ) -> "NCAClassifier":
        """A model with new random weights (torch's global generator draws them)."""
        return cls(
            classes=classes,
            channels=architecture.channels,
            hidden=architecture.hidden,
            steps=architecture.steps,
            fire_rate=architecture.fire_rate,
            grid=architecture.grid,
            pooling=architecture.pooling,
            engine=engine,
        )

    @classmethod
    def from_weights(cls, config: ModelConfig, weights: Weights, *, engine: str = "auto") -> "NCAClassifier":
        """A model from its config and float32 arrays by parameter name, in evaluation mode.

        Raises:
            ModelError: names, shapes or values that do not belong to the config.
        """
        with torch.random.fork_rng(devices=[]):  # loading a model must not change what the caller draws next
            model = cls.from_architecture(config.architecture, classes=config.classes, engine=engine)
        check_weights({name: tuple(value.shape) for name, value in model.state_dict().items()}, weights)
        model.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in weights.items()})
        model.config = config
        return model.eval()

    @property
    def rule(self) -> engines.Parameters:
        """The automaton's parameters, in the order that every engine takes them."""
        return self.kernels, self.kernel_bias, self.hidden_weight, self.hidden_bias, self.update_weight

    def rollout(self, images: Tensor, steps: int | None = None, seed: Any = 0, *, record: bool = False) -> Tensor:
        """Let the automaton run.

        Args:
            images: float [B, 3, H, W], normalised; any H, W >= 2.
            steps: how many; None: as in the architecture.
            seed: of the fire masks: one integer in [0, 2^32) for all images, or one an image.
            record: return every step's state.

        Returns:
            The state after the last step, [B, C, H, W]; [steps, B, C, H, W] if `record`.

        Raises:
            UsageError: wrong shape, dtype, device, seed or number of steps.
            DataError: images that are not finite.
        """
        _check_images(images)
        steps = self.config.architecture.steps if steps is None else steps
        if not _is_count(steps):
            raise UsageError(f"steps is {steps!r}: must be a whole number of at least 1")
        seeds = check_seeds(seed.cpu().numpy() if isinstance(seed, Tensor) else seed, len(images))
        return engines.run(
            self.engine,
            images,
            self.rule,
            steps=steps,
            fire_rate=self.config.architecture.fire_rate,
            seeds=seeds,
            record=record,
        )

    def features(self, images: Tensor, steps: int | None = None, seed: Any = 0) -> Tensor:
        """The largest value of every channel over all cells of the last state, [B, C]; arguments as `rollout`."""
        return self.rollout(images, steps, seed).amax(dim=(-2, -1))

    def forward(self, images: Tensor, seed: Any = 0) -> Tensor:
        """Logits [B, classes] of normalised images [B, 3, H, W]; arguments and errors as `rollout`."""
        logits: Tensor = self.head(self.features(images, seed=seed))
        return logits

    def weights(self) -> Weights:
        """Copies of all parameters as float32 arrays, by name."""
        return {name: value.detach().cpu().float().numpy().copy() for name, value in self.state_dict().items()}

    def save(self, folder: str | Path) -> None:
        """Write a model folder: safetensors, config and model card; read it with `leukonca.load`."""
        write_model(Path(folder), self.config, self.weights())


def check_weights(wanted: Mapping[str, tuple[int, ...]], weights: Mapping[str, NDArray[np.float32]]) -> None:
    """Raise a `ModelError` that names what is missing, unknown, of another shape or not finite."""
    missing, unknown = wanted.keys() - weights.keys(), weights.keys() - wanted.keys()
    if missing or unknown:
        raise ModelError(f"weights: missing {sorted(missing) or 'none'}, unknown {sorted(unknown) or 'none'}")
    for name, shape in wanted.items():
        if tuple(weights[name].shape) != shape:
            raise ModelError(f"weights: {name} has shape {tuple(weights[name].shape)}, expected {shape}")
        if not np.isfinite(weights[name]).all():
            raise ModelError(f"weights: {name} holds values that are not finite")


def class_names(number: int | None, names: Sequence[str] | None) -> tuple[str, ...]:
    """Names of the outputs: those given, the harmonised classes if there are as many, else class_0, class_1, ...

    Raises:
        UsageError: number and names that cannot both be meant, or describe no classes.
    """
    if number is not None and not _is_count(number):
        raise UsageError(f"num_classes is {number!r}: must be a whole number of at least 1")
    if names is not None:
        if isinstance(names, str) or len(names) == 0 or len(set(names)) != len(names):
            raise UsageError(f"classes is {names!r}: must be a tuple of distinct names, at least one")
        if number is not None and number != len(names):
            raise UsageError(f"num_classes is {number}, but {len(names)} class names are given")
        return tuple(names)
    if number is None or number == len(CLASSES):
        return CLASSES
    return tuple(f"class_{i}" for i in range(number))


def _is_count(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= 1)


def _uniform(shape: tuple[int, ...], fan_in: int) -> Tensor:
    """Torch's own default for convolutions and linear layers, which the authors' code uses."""
    bound = 1 / math.sqrt(fan_in)
    return torch.empty(shape).uniform_(-bound, bound)


def _check_images(images: Tensor) -> None:
    if not isinstance(images, Tensor) or not images.is_floating_point():
        kind = f"{images.dtype} tensor" if isinstance(images, Tensor) else type(images).__name__
        raise UsageError(f"images: a {kind}; expected a normalised float tensor [B, 3, H, W]")
    if images.ndim != 4 or images.shape[1] != IMAGE_CHANNELS:
        raise UsageError(f"images: shape {tuple(images.shape)}; expected [B, 3, H, W]")
    if min(images.shape[-2:]) < SMALLEST_GRID or len(images) == 0:
        raise UsageError(f"images: shape {tuple(images.shape)}; needs at least one image, H and W of at least 2")
    if not bool(torch.isfinite(images).all()):
        raise DataError("images: hold NaN or infinite values; look at how they were read and normalised")
