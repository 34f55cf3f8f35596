"""The kinds of model there are: a name, an architecture that needs no torch, and where the module is."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from leukonca.errors import UsageError
from leukonca.models.aecfe_architecture import AECFEArchitecture
from leukonca.models.architecture import AnyArchitecture
from leukonca.models.presets import Architecture, ResNeXtArchitecture


@dataclass(frozen=True)
class Kind:
    """One kind of model.

    Args:
        architecture: its frozen dataclass.
        place: where its `Classifier` is, ``module:class``; `leukonca.models.building` imports it, and torch with it.
    """

    architecture: type[AnyArchitecture]
    place: str


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


def place_of(architecture: AnyArchitecture) -> str:
    """Where the `Classifier` of an architecture's kind is, ``module:class``.

    Raises:
        UsageError: it belongs to none of them.
    """
    return KINDS[kind_of(architecture)].place


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
