"""The kinds of model there are: a name, an architecture that needs no torch, and the module that is built from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from leukonca.errors import UsageError
from leukonca.models.aecfe_architecture import AECFEArchitecture
from leukonca.models.architecture import AnyArchitecture
from leukonca.models.presets import Architecture, ResNeXtArchitecture
from leukonca.taxonomy import CLASSES

if TYPE_CHECKING:
    from leukonca.models.classifier import Classifier
    from leukonca.models.config import ModelConfig


@dataclass(frozen=True)
class Kind:
    """One kind of model.

    Args:
        architecture: its frozen dataclass.
        place: where its `Classifier` is, ``module:class``; imported, and torch with it, when one is built.
    """

    architecture: type[AnyArchitecture]
    place: str

    def classifier(self) -> "type[Classifier]":
        """The class of its modules."""
        module, _, name = self.place.partition(":")
        return cast("type[Classifier]", getattr(import_module(module), name))


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "nca": Kind(Architecture, "leukonca.models.nca:NCAClassifier"),
        "aecfe": Kind(AECFEArchitecture, "leukonca.models.aecfe:AECFE"),
        "resnext": Kind(ResNeXtArchitecture, "leukonca.models.resnext:ResNeXt"),
    }
)
"""Name, as in ``config.json``, -> kind."""

DEFAULT = "nca"
"""The kind of a model folder whose config names none."""


def kind_of(architecture: AnyArchitecture) -> str:
    """The name of the kind that an architecture belongs to.

    Raises:
        UsageError: none of them.
    """
    for name, kind in KINDS.items():
        if type(architecture) is kind.architecture:
            return name
    raise UsageError(f"{type(architecture).__name__}: no architecture of {', '.join(KINDS)}")


def architecture_from_json(kind: str, fields: Mapping[str, Any]) -> AnyArchitecture:
    """The architecture that was written as a name and plain fields.

    Raises:
        UsageError: no such kind, or values that describe no model of it.
        TypeError: other fields than it has.
    """
    if kind not in KINDS:
        raise UsageError(f"kind {kind!r}: this leukonca knows {', '.join(KINDS)}")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    return KINDS[kind].architecture(**values)


def build(architecture: AnyArchitecture, *, classes: tuple[str, ...] = CLASSES, engine: str = "auto") -> "Classifier":
    """A new model with random weights (torch's global generator draws them).

    Args:
        architecture: of any kind.
        classes: names of the outputs.
        engine: see `NCAClassifier`; other kinds have none but ``auto``.

    Raises:
        UsageError: there is no such engine.
    """
    return KINDS[kind_of(architecture)].classifier().from_architecture(architecture, classes=classes, engine=engine)


def from_weights(
    config: "ModelConfig", weights: Mapping[str, NDArray[np.float32]], *, engine: str = "auto"
) -> "Classifier":
    """A model from its config and float32 arrays by parameter name, in evaluation mode.

    Raises:
        ModelError: names, shapes or values that do not belong to the config.
        UsageError: there is no such engine.
    """
    return KINDS[kind_of(config.architecture)].classifier().from_weights(config, dict(weights), engine=engine)
