"""How unlike the training cells a cell is, by the features that the head sees; computed without torch.

Fitted by `leukonca.evaluation.unusual`; lies in the model folder as ``unusual.safetensors``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from leukonca.errors import ModelError
from leukonca.models.architecture import AnyArchitecture
from leukonca.models.presets import Architecture

ROWS = 256
"""Images worked on together: bounds the memory; scores do not depend on it."""


@dataclass(frozen=True, eq=False)
class UnusualScore:
    """How far a feature vector is from those of the nearest class of training cells.

    Features f are compressed: ``g_c = asinh(f_c / spread_c)``. With m_k the mean g of class k and S the covariance that
    all classes share, ``score = min over k of sqrt((g - m_k)^T S^-1 (g - m_k))``, the Mahalanobis distance. It is
    computed in a frame where S is the identity: ``W g`` against ``W m_k``, with ``W^T W = S^-1``.

    Args:
        spread: of each channel within classes, float32 [C], positive.
        whitening: W, float32 [C, C].
        centers: W m_k, float32 [K, C], one row a class that was trained on.
        usual: scores of cells like those trained on, which no fit has seen, float32 [V], rising: what others are
            compared with.

    Raises:
        ModelError: shapes that do not fit each other, another number type, or values that are not finite.

    Source: Lee et al. 2018 (arXiv 1807.03888), section 2.1, without its input perturbation and layer ensemble. The
    compression is our own; docs/uncertainty.md compares.
    """

    spread: NDArray[np.float32]
    whitening: NDArray[np.float32]
    centers: NDArray[np.float32]
    usual: NDArray[np.float32]

    def __post_init__(self) -> None:
        for name, array in self.arrays().items():
            if array.dtype != np.float32 or not np.isfinite(array).all():
                raise ModelError(f"{name} is {array.dtype} or holds values that are not finite; needs finite float32")
        shapes = {name: array.shape for name, array in self.arrays().items()}
        (channels,) = self.spread.shape if self.spread.ndim == 1 else (0,)
        fit = self.whitening.shape == (channels, channels) and self.centers.shape[1:] == (channels,)
        if not fit or self.centers.size == 0 or not (self.spread > 0).all():
            raise ModelError(f"shapes {shapes} do not fit each other, or a spread is not positive")
        if self.usual.ndim != 1 or (np.diff(self.usual) < 0).any():
            raise ModelError(f"usual {list(self.usual.shape)}: needs one row of rising scores")

    @property
    def channels(self) -> int:
        """Length of a feature vector."""
        return len(self.spread)

    def check_channels(self, architecture: AnyArchitecture) -> None:
        """Raise a `ModelError` unless it belongs to an automaton of as many channels."""
        if not isinstance(architecture, Architecture) or architecture.channels != self.channels:
            raise ModelError(f"fitted to {self.channels} channels; the model is: {architecture}")

    def of(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Score images; the larger, the less like any training cell. A score depends on its own row alone.

        Args:
            features: the head's input, float [N, C].

        Returns:
            [N], 0 or more; infinite where a feature is not finite.

        Raises:
            ModelError: another number of channels.
        """
        if features.ndim != 2 or features.shape[1] != self.channels:
            raise ModelError(f"features {list(features.shape)}: the score was fitted to [N, {self.channels}]")
        scores = np.empty(len(features))
        for low in range(0, len(features), ROWS):
            rows = compressed(features[low : low + ROWS], self.spread)  # [n, C]
            # Sums over single rows: a matrix product rounds differently for another number of rows.
            white = (rows[:, None, :] * self.whitening).sum(axis=2)  # [n, C]
            squares = np.square(white[:, None, :] - self.centers).sum(axis=2)  # [n, K]
            scores[low : low + ROWS] = np.sqrt(squares.min(axis=1))
        return np.where(np.isfinite(features).all(axis=1), scores, np.inf)

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """What has to be kept, by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.float32]]) -> Self:
        """The score that `arrays` came from.

        Raises:
            ModelError: other names, or see the class.
        """
        wanted = {each.name for each in fields(cls)}
        if arrays.keys() != wanted:
            odd = ", ".join(sorted(arrays.keys() ^ wanted))
            raise ModelError(f"missing or unknown: {odd}")
        return cls(**arrays)


def compressed(features: NDArray[np.floating[Any]], spread: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """asinh of features in units of their spread, [N, C] -> [N, C]; what is not finite becomes 0.

    ``asinh`` is a logarithm that is linear near 0 and takes both signs: single channels that are far out, as max
    pooling gives, do not outweigh all others.
    """
    return np.arcsinh(np.nan_to_num(features.astype(np.float64), posinf=0, neginf=0) / spread)
