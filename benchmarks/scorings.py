"""Ways of scoring features by how unlike those of training cells they are, fitted by scikit-learn.

Mahalanobis: Lee et al. 2018 (arXiv 1807.03888); of unit length: Mueller and Hein 2025 (arXiv 2505.18032); relative: Ren
et al. 2021 (arXiv 2106.09022); neighbors: Sun et al. 2022 (arXiv 2204.06507).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

Array = NDArray[np.float64]
Scoring = Callable[[Array], Array]
"""Features [N, C] -> scores [N], larger for what is less usual."""


def rivals(features: Array, labels: NDArray[np.int64]) -> dict[str, Scoring]:
    """Ways of scoring features, fitted to those of training cells by scikit-learn."""
    scale = np.sqrt(np.mean([features[labels == k].var(axis=0) for k in np.unique(labels)], axis=0))
    scale = np.where(scale > 0, scale, 1)
    views: dict[str, Scoring] = {
        "": lambda f: f / scale,
        "of unit length": lambda f: np.asarray(normalize(f)),
        "compressed": lambda f: np.arcsinh(f / scale),
        "compressed, of unit length": lambda f: np.asarray(normalize(np.arcsinh(f / scale))),
    }
    found: dict[str, Scoring] = {}
    for name, view in views.items():
        found[f"Mahalanobis, {name}".rstrip(", ")] = mahalanobis(view, features, labels)
    found["relative Mahalanobis"] = relative(views[""], features, labels)
    for name in ("of unit length", "compressed, of unit length"):
        found[f"5th neighbor, {name}"] = neighbors(views[name], features, 5)
    return found


def mahalanobis(view: Scoring, features: Array, labels: NDArray[np.int64]) -> Scoring:
    rows = view(features)
    means = np.stack([rows[labels == k].mean(axis=0) for k in np.unique(labels)])
    inner = rows - means[np.searchsorted(np.unique(labels), labels)]
    spread = np.where(inner.std(axis=0) > 0, inner.std(axis=0), 1)
    precision = LedoitWolf(assume_centered=True).fit(inner / spread).precision_

    def score(f: Array) -> Array:
        away = (view(f)[:, None] - means) / spread
        return np.sqrt(np.einsum("nkc,cd,nkd->nk", away, precision, away).min(axis=1))

    return score


def relative(view: Scoring, features: Array, labels: NDArray[np.int64]) -> Scoring:
    near, all_together = mahalanobis(view, features, labels), mahalanobis(view, features, np.zeros_like(labels))
    return lambda f: near(f) ** 2 - all_together(f) ** 2


def neighbors(view: Scoring, features: Array, number: int) -> Scoring:
    known = NearestNeighbors(n_neighbors=number).fit(view(features))
    return lambda f: np.asarray(known.kneighbors(view(f))[0][:, -1])
