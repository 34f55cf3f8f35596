"""What a predictor is given, checked without torch: the weights of a model folder, and images."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukonca.automaton.rule import Rule
from leukonca.errors import ModelError, UsageError
from leukonca.models.config import ModelConfig
from leukonca.models.folder import Weights
from leukonca.models.pooling import POOLINGS
from leukonca.models.presets import Architecture


def automaton_of(config: ModelConfig, name: str) -> Architecture:
    """The architecture, if it is that of an automaton.

    Raises:
        ModelError: it is of another kind of model, which torch alone computes.
    """
    if not isinstance(config.architecture, Architecture):
        raise ModelError(
            f"{name}: {config.architecture.words}, and without torch only an automaton predicts; "
            "test this model with `leukonca evaluate`, or use leukonca.load in Python"
        )
    return config.architecture


def split_weights(config: ModelConfig, weights: Weights, name: str) -> tuple[Rule, tuple[NDArray[np.float32], ...]]:
    """The rule and the head (weight, bias, weight, bias).

    Args:
        config: of the model.
        weights: by parameter name.
        name: of the model, for messages.

    Raises:
        ModelError: names, shapes or values that do not belong to the config.
    """
    a, number = automaton_of(config, name), len(config.classes)
    rule_names = tuple(Rule.__dataclass_fields__)
    head_shapes = {
        "head.0.weight": (a.hidden, a.channels),
        "head.0.bias": (a.hidden,),
        "head.2.weight": (number, a.hidden),
        "head.2.bias": (number,),
    }
    attention = {"attention": (a.cells, a.cells)} if POOLINGS[a.pooling].attends else {}
    expected = {*rule_names, *head_shapes, *attention}
    if expected != weights.keys():
        odd = ", ".join(sorted(expected ^ weights.keys()))
        raise ModelError(f"{name}: the weights are not those of an NCA classifier (missing or unknown: {odd})")
    for part, shape in {**head_shapes, **attention, "update_weight": (a.channels, a.hidden)}.items():
        if weights[part].shape != shape or not np.isfinite(weights[part]).all():
            raise ModelError(
                f"{name}: {part} has shape {weights[part].shape} or values that are not finite; "
                f"the config needs {shape}"
            )
    arrays = {part: np.ascontiguousarray(array, np.float32) for part, array in weights.items()}
    return Rule(**{part: arrays[part] for part in rule_names}), tuple(arrays[part] for part in head_shapes)


def checked_images(images: Any) -> list[NDArray[np.uint8]]:
    """A list of the images, if each is uint8 [H, W, 3].

    Raises:
        UsageError: it is not; the message gives its number.
    """
    if isinstance(images, np.ndarray) and images.ndim == 3:
        raise UsageError(f"images: one array of shape {images.shape}; give a list, [image]")
    if not isinstance(images, Iterable):
        raise UsageError(f"images: a {type(images).__name__}; expected a sequence of uint8 arrays [H, W, 3]")
    checked = list(images)
    for i, image in enumerate(checked):
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
            kind = f"{image.dtype} array" if isinstance(image, np.ndarray) else type(image).__name__
            raise UsageError(f"images: number {i} is a {kind}; expected a uint8 array [H, W, 3]")
        if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise UsageError(f"images: number {i} has shape {image.shape}; expected [H, W, 3]")
    return checked
