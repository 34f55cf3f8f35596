"""Does a map point at the cell? The pointing game, and the share of a map that lies inside."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukonca.errors import UsageError

Floats = NDArray[np.floating[Any]]


def pointing(relevance: Floats, inside: NDArray[np.bool_]) -> float:
    """Whether a map's largest value lies inside; of several that are equally large, the share that does.

    Args:
        relevance: the map, [H, W]. What is large in it is what it points at; of a signed map that is what speaks for
            the class.
        inside: what it should point at, [H, W].

    Returns:
        1 for a hit, 0 for a miss. A map that knows nothing hits as often as its target is wide.

    Raises:
        UsageError: shapes that do not fit, or a map that is not finite.

    Source: Zhang et al. 2018, doi 10.1007/s11263-017-1059-x; without the tolerance of 15 pixels, which
    would be half a nucleus here.
    """
    _check(relevance, inside)
    return float(inside[relevance == relevance.max()].mean())


def mass_inside(relevance: Floats, inside: NDArray[np.bool_]) -> float:
    """Share of a map that lies inside, counted by size, whatever its sign.

    Args:
        relevance: the map, [H, W].
        inside: what it should lie on, [H, W].

    Returns:
        From 0 to 1. A map that knows nothing (and one that is 0 everywhere) has the share that the target covers.

    Raises:
        UsageError: shapes that do not fit, or a map that is not finite.

    Source: relevance mass accuracy, Arras et al. 2022, doi 10.1016/j.inffus.2021.11.008.
    """
    _check(relevance, inside)
    size = np.abs(relevance).astype(np.float64)
    total = size.sum()
    return float(size[inside].sum() / total if total else inside.mean())


def _check(relevance: Floats, inside: NDArray[np.bool_]) -> None:
    if relevance.ndim != 2 or relevance.shape != inside.shape or inside.dtype != np.bool_:
        raise UsageError(f"a map of {relevance.shape} and a target of {inside.dtype} {inside.shape} do not fit")
    if not np.isfinite(relevance).all():
        raise UsageError("a map with values that are not finite points nowhere")
