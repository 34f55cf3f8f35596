"""How unlike the training cells a cell is, by the features that the head sees; computed without torch.

Fitted by `leukonca.evaluation.unusual`; lies in the model folder as ``unusual.safetensors``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from leukonca.errors import ModelError
from leukonca.models.architecture import AnyArchitecture
from leukonca.models.presets import Architecture

NEIGHBOR = 5
"""To which neighbor the distance is taken: a few odd training cells make nothing usual."""

LARGEST = 127
"""Of the whole numbers that directions are kept as."""

_EARLIER = {"spread", "whitening", "centers", "usual"}
"""What was kept when the distance was one to class means."""


@dataclass(frozen=True, eq=False)
class UnusualScore:
    """How far the direction of a feature vector is from those of training cells.

    Of features f only the direction ``u = f / |f|`` counts. The score is the Euclidean distance of u to the fifth
    nearest (`NEIGHBOR`) of the training cells' directions: 0 to 2.

    Args:
        cells: directions of M looks at training cells in units of `unit`, rounded, int8 [M, C]: u = cells * unit.
        unit: of each channel, float32 [C], positive.
        usual: scores of cells like those trained on, which no fit has seen, float32 [V], rising: what others are
            compared with.

    Raises:
        ModelError: shapes that do not fit each other, another number type, or values that are not finite.

    Source: Sun et al. 2022 (arXiv 2204.06507). That directions of so few cells are enough, and kept as bytes, is our
    own; docs/uncertainty.md compares.
    """

    cells: NDArray[np.int8]
    unit: NDArray[np.float32]
    usual: NDArray[np.float32]

    def __post_init__(self) -> None:
        for name, array in self.arrays().items():
            wanted = np.dtype(np.int8 if name == "cells" else np.float32)
            if array.dtype != wanted:
                raise ModelError(f"{name} is {array.dtype}; needs {wanted}")
            if not np.isfinite(array).all():
                raise ModelError(f"{name} holds values that are not finite")
        if self.unit.ndim != 1 or self.cells.shape[1:] != self.unit.shape or not (self.unit > 0).all():
            shapes = {name: array.shape for name, array in self.arrays().items()}
            raise ModelError(f"shapes {shapes} do not fit each other, or a unit is not positive")
        if len(self.cells) < NEIGHBOR:
            raise ModelError(f"{len(self.cells)} training cells; needs {NEIGHBOR}")
        if self.usual.ndim != 1 or (np.diff(self.usual) < 0).any():
            raise ModelError(f"usual {list(self.usual.shape)}: needs one row of rising scores")

    @property
    def channels(self) -> int:
        """Length of a feature vector."""
        return len(self.unit)

    def check_channels(self, architecture: AnyArchitecture) -> None:
        """Raise a `ModelError` unless it belongs to an automaton of as many channels."""
        if not isinstance(architecture, Architecture) or architecture.channels != self.channels:
            raise ModelError(f"fitted to {self.channels} channels; the model is: {architecture}")

    def of(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Score images; the larger, the less like any training cell. A score depends on its own row alone.

        Args:
            features: the head's input, float [N, C].

        Returns:
            [N], 0 to 2, or a rounding more; infinite where a feature is not finite.

        Raises:
            ModelError: another number of channels.
        """
        if features.ndim != 2 or features.shape[1] != self.channels:
            raise ModelError(f"features {list(features.shape)}: the score was fitted to [N, {self.channels}]")
        (known, lengths), scores = self._known, np.full(len(features), np.inf)
        for place in np.flatnonzero(np.isfinite(features).all(axis=1)):
            seen = directions(features[place])  # [C]
            # No BLAS, whose sums depend on the number of threads; |a - b|^2 = |a|^2 + |b|^2 - 2 ab.
            squares = lengths + np.square(seen).sum() - 2 * np.einsum("mc,c->m", known, seen)  # [M]
            scores[place] = np.sqrt(max(0.0, np.partition(squares, NEIGHBOR - 1)[NEIGHBOR - 1]))
        return scores

    @cached_property
    def _known(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The directions, [M, C], and the squares of their lengths, [M]."""
        known = self.cells.astype(np.float64) * self.unit
        return known, np.square(known).sum(axis=1)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What has to be kept, by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The score that `arrays` came from.

        Raises:
            ModelError: other names, or see the class.
        """
        wanted = {each.name for each in fields(cls)}
        if arrays.keys() == _EARLIER:
            raise ModelError(
                "of an earlier version; `leukonca calibrate` makes it anew, from the images and with the options "
                "(--image-um, --map) of the training"
            )
        if arrays.keys() != wanted:
            odd = ", ".join(sorted(arrays.keys() ^ wanted))
            raise ModelError(f"missing or unknown: {odd}")
        return cls(**arrays)


def directions(features: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Finite features at unit length, [..., C]; zeros stay zeros."""
    exact = features.astype(np.float64)
    length = np.linalg.norm(exact, axis=-1, keepdims=True)
    return exact / np.where(length > 0, length, 1)
