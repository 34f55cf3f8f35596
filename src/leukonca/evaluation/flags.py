"""Which answers are flagged: the same rules in predictions, tests and the choice of their thresholds."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukonca.models.config import ModelConfig

UNCERTAIN_BELOW = 0.5
"""A cell whose largest probability is below this is uncertain, where the model holds no threshold of its own: no class
outweighs all others together."""


MOSTLY_UNUSUAL = 0.5
"""Where more than this share of the cells is unusual, a model is not to be relied on."""


def threshold_of(config: ModelConfig) -> float:
    """The largest probability below which a cell is uncertain."""
    return config.thresholds.get("uncertain", UNCERTAIN_BELOW)


def confidence(probabilities: NDArray[np.floating[Any]], config: ModelConfig) -> NDArray[np.float64]:
    """The largest probability of each cell, [N]; 0 where it belongs to a class without training images.

    Args:
        probabilities: of the model's classes, [N, K].
        config: of the model.
    """
    return np.where(never_taught(probabilities, config), 0.0, probabilities.max(axis=1).astype(np.float64))


def never_taught(probabilities: NDArray[np.floating[Any]], config: ModelConfig) -> NDArray[np.bool_]:
    """Whether each answer is a class without training images, bool [N]; arguments as in `confidence`."""
    untaught = np.array(
        [bool(config.trained_classes) and name not in config.trained_classes for name in config.classes]
    )
    answered: NDArray[np.bool_] = untaught[probabilities.argmax(axis=1)]
    return answered


def uncertain(
    probabilities: NDArray[np.floating[Any]], config: ModelConfig, changed: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Whether each cell is flagged so, bool [N]: its `confidence` is 0 or below the model's threshold, or it changed.

    Args:
        probabilities: of the model's classes, [N, K].
        config: of the model.
        changed: whether a prior (`leukonca.evaluation.prior`) made each answer another one, bool [N]; None: none did.
    """
    sure = confidence(probabilities, config)
    doubtful: NDArray[np.bool_] = (sure < threshold_of(config)) | (sure == 0)
    return doubtful if changed is None else doubtful | changed


def unusual(scores: NDArray[np.floating[Any]], config: ModelConfig) -> NDArray[np.bool_]:
    """Whether each cell is flagged so, bool [N]: its score (`leukonca.models.unusual`) is above the model's threshold.

    Both are rounded to float32 first, as scores are stored. None is where the score is NaN or there is no threshold.
    """
    above: NDArray[np.bool_] = np.asarray(scores, np.float32) > np.float32(config.thresholds.get("unusual", math.inf))
    return above


def flags(
    probabilities: NDArray[np.floating[Any]],
    scores: NDArray[np.floating[Any]],
    config: ModelConfig,
    changed: NDArray[np.bool_] | None = None,
) -> tuple[str, ...]:
    """`unusual`, `uncertain` or nothing for each cell, [N]; the former goes first.

    Probabilities are shares among the classes: they mean little where the cell may be of none. An answer that was never
    taught says no more than that the cell is none of the others: it is unusual, of a model that can tell.
    """
    told = np.isfinite(scores) & ("unusual" in config.thresholds)
    pairs = zip(
        unusual(scores, config) | (told & never_taught(probabilities, config)),
        uncertain(probabilities, config, changed),
        strict=True,
    )
    return tuple("unusual" if odd else "uncertain" if doubtful else "" for odd, doubtful in pairs)
