"""What training, evaluation and reports need of a model, whatever kind it is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from leukonca.automaton.rule import IMAGE_CHANNELS
from leukonca.errors import DataError, ModelError, UsageError
from leukonca.models.architecture import AnyArchitecture
from leukonca.models.config import ModelConfig
from leukonca.models.folder import Weights, write_model
from leukonca.models.unusual import UnusualScore
from leukonca.taxonomy import CLASSES

SMALLEST_SIDE = 2
"""Reflect padding needs a neighbour on each side."""


class Classifier(nn.Module):
    """Base of all models that name the class of a single cell; a kind is listed in `leukonca.models.registry`.

    A subclass sets `config`, and writes `from_architecture` and `forward`.
    """

    config: ModelConfig
    """What the model folder says beside the weights."""

    unusual: UnusualScore | None = None
    """Tells cells apart that are like none trained on; see `leukonca.evaluation.unusual`."""
    engine: str = "torch"
    """What computes it: the automaton's engine, or torch's own operations."""
    output_layer: str = "fc"
    """Name of the linear layer that gives the logits."""
    normalises: bool = True
    """Whether it wants images normalised with a center's colors; if not, its config's mean is 0 and its std 1."""

    @classmethod
    def from_architecture(
        cls, architecture: AnyArchitecture, *, classes: tuple[str, ...] = CLASSES, engine: str = "auto"
    ) -> Self:
        """A model with new random weights (torch's global generator draws them)."""
        raise NotImplementedError

    @classmethod
    def from_weights(cls, config: ModelConfig, weights: Weights, *, engine: str = "auto") -> Self:
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

    def forward(self, images: Tensor, seed: Any = 0) -> Tensor:
        """Logits [B, classes] of normalised images [B, 3, H, W].

        Args:
            images: float, finite.
            seed: of whatever is random in the model: one integer in [0, 2^32) for all images, or one an image.
        """
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """Where the weights are, and images must be."""
        return next(self.parameters()).device

    def weights(self) -> Weights:
        """Copies of all parameters and buffers as float32 arrays, by name."""
        return {name: value.detach().cpu().float().numpy().copy() for name, value in self.state_dict().items()}

    def save(self, folder: str | Path) -> None:
        """Write a model folder: safetensors, config and model card; read it with `leukonca.load`."""
        parameters = sum(value.numel() for value in self.parameters())
        write_model(Path(folder), self.config, self.weights(), parameters, self.unusual)


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


def check_images(images: Any) -> None:
    """Raise unless `images` is a batch that a model can take.

    Raises:
        UsageError: wrong type, dtype or shape.
        DataError: values that are not finite.
    """
    if not isinstance(images, Tensor) or not images.is_floating_point():
        kind = f"{images.dtype} tensor" if isinstance(images, Tensor) else type(images).__name__
        raise UsageError(f"images: a {kind}; expected a normalised float tensor [B, 3, H, W]")
    if images.ndim != 4 or images.shape[1] != IMAGE_CHANNELS:
        raise UsageError(f"images: shape {tuple(images.shape)}; expected [B, 3, H, W]")
    if min(images.shape[-2:]) < SMALLEST_SIDE or len(images) == 0:
        raise UsageError(f"images: shape {tuple(images.shape)}; needs at least one image, H and W of at least 2")
    if not bool(torch.isfinite(images).all()):
        raise DataError("images: hold NaN or infinite values; look at how they were read and normalised")


def class_names(number: int | None, names: Sequence[str] | None) -> tuple[str, ...]:
    """Names of the outputs: those given, the harmonised classes if there are as many, else class_0, class_1, ...

    Raises:
        UsageError: number and names that cannot both be meant, or describe no classes.
    """
    if number is not None and not is_count(number):
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


def is_count(value: Any) -> bool:
    """Whether a value is a whole number of at least 1."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= 1)
