"""A random forest as plain arrays: fitted by scikit-learn, saved without pickle, predicted with in numpy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukonca.errors import ModelError

Array = NDArray[np.float32]

LARGEST = 2**24
"""Whole numbers up to this are exact in float32, which is all that a model folder holds."""


@dataclass(frozen=True, eq=False)
class Forest:
    """The nodes of all trees, one after the other; float32, whole numbers where they are positions.

    Args:
        roots: node that each tree begins with, [trees].
        feature: that a node looks at, [nodes].
        threshold: a sample goes left where its feature is at most this, [nodes].
        left, right: the next node, [nodes]; a leaf leads to itself.
        value: class probabilities at a node, [nodes, classes].

    Raises:
        ModelError: arrays that are no forest.
    """

    roots: Array
    feature: Array
    threshold: Array
    left: Array
    right: Array
    value: Array

    def __post_init__(self) -> None:
        nodes = len(self.feature)
        shapes = [array.shape for array in (self.threshold, self.left, self.right)]
        if shapes != [(nodes,)] * 3 or self.value.ndim != 2 or len(self.value) != nodes or self.roots.ndim != 1:
            raise ModelError("forest: its arrays do not belong together")
        for name in ("roots", "left", "right", "feature"):
            array = getattr(self, name)
            whole = np.isfinite(array).all() and (array == np.floor(array)).all()
            if not whole or array.size == 0 or array.min() < 0 or (name != "feature" and array.max() >= nodes):
                raise ModelError(f"forest: {name} holds what is no position of a node or feature")

    @classmethod
    def from_sklearn(cls, fitted: Any, labels: Sequence[int], classes: int) -> "Forest":
        """The same forest as arrays.

        Args:
            fitted: a `sklearn.ensemble.RandomForestClassifier`, fitted to float32 samples.
            labels: class of each of its columns.
            classes: number of columns here; those without a label stay zero.

        Raises:
            ModelError: more nodes than float32 can count.
        """
        parts: dict[str, list[NDArray[Any]]] = {name: [] for name in cls.__dataclass_fields__}
        first = 0
        for tree in (each.tree_ for each in fitted.estimators_):
            own = np.arange(first, first + tree.node_count)
            leaf = tree.children_left < 0
            share = tree.value[:, 0] / tree.value[:, 0].sum(axis=1, keepdims=True)  # [nodes, labels]
            value = np.zeros((tree.node_count, classes))
            value[:, list(labels)] = share
            parts["roots"].append(own[:1])
            parts["feature"].append(np.where(leaf, 0, tree.feature))
            parts["threshold"].append(_not_above(np.where(leaf, 0, tree.threshold)))
            parts["left"].append(np.where(leaf, own, tree.children_left + first))
            parts["right"].append(np.where(leaf, own, tree.children_right + first))
            parts["value"].append(value)
            first += tree.node_count
        if first > LARGEST:
            raise ModelError(f"forest: {first} nodes; at most {LARGEST} can be saved: fewer trees, or less depth")
        return cls(**{name: np.concatenate(arrays).astype(np.float32) for name, arrays in parts.items()})

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], features: int, classes: int) -> "Forest":
        """A forest that was saved.

        Raises:
            ModelError: missing or unknown arrays, or a forest of other features or classes.
        """
        if odd := arrays.keys() ^ cls.__dataclass_fields__.keys():
            raise ModelError(f"forest: missing or unknown {', '.join(sorted(odd))}")
        forest = cls(**arrays)
        if forest.feature.max() >= features or forest.value.shape[1] != classes:
            raise ModelError(f"forest: not of {features} features and {classes} classes")
        return forest

    def arrays(self) -> dict[str, Array]:
        """By name."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def probabilities(self, samples: Array, depth: int) -> Array:
        """Mean over the trees of the leaves that the samples end in.

        Args:
            samples: float32 [N, features].
            depth: of the deepest tree, at most.

        Returns:
            float32 [N, classes].
        """
        feature, left, right = (array.astype(np.int64) for array in (self.feature, self.left, self.right))
        node = np.repeat(self.roots.astype(np.int64)[None], len(samples), axis=0)  # [N, trees]
        for _ in range(depth):
            goes_left = np.take_along_axis(samples, feature[node], axis=1) <= self.threshold[node]
            node = np.where(goes_left, left[node], right[node])
        total = np.zeros((len(samples), self.value.shape[1]))
        for tree in node.T:
            total += self.value[tree]
        mean: Array = (total / node.shape[1]).astype(np.float32)
        return mean


def _not_above(thresholds: NDArray[np.float64]) -> Array:
    """The largest float32 that is not above each threshold: it divides float32 samples just the same."""
    rounded: Array = thresholds.astype(np.float32)
    above = rounded.astype(np.float64) > thresholds
    return np.where(above, np.nextafter(rounded, np.float32(-np.inf)), rounded).astype(np.float32)
