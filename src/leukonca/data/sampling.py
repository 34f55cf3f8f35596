"""Which images an epoch sees: classes balanced by random over- and undersampling."""

import numpy as np
from numpy.typing import NDArray

from leukonca.errors import DataError


def balanced_draws(labels: NDArray[np.int64], seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """Draw with replacement, each image with weight 1 / (images of its class).

    All draws are equally likely to be of any class that is present, and within a class of any image. A pure
    function of its arguments: a resumed run draws what an undisturbed one would have drawn.

    Args:
        labels: class of each image, int64 [N].
        seed: of the run.
        epoch: counted from 0.
        count: how many to draw; the paper draws N.

    Returns:
        Positions in `labels`, int64 [count], in the order in which they are to be seen.

    Raises:
        DataError: there is nothing to draw from.

    Source: Deutges et al. 2024, training details: random over- and undersampling.
    """
    labels = np.asarray(labels)
    if len(labels) == 0:
        raise DataError("no images to draw from: the training part is empty")
    _, class_of, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    by_class = np.argsort(class_of, kind="stable")
    starts = np.cumsum(sizes) - sizes
    # Two uniform numbers a draw, and nothing else from the generator: its raw stream is the same everywhere.
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed % 2**64, epoch])))
    which_class, which_image = generator.random((2, count))
    drawn = (which_class * len(sizes)).astype(np.int64)
    within = (which_image * sizes[drawn]).astype(np.int64)
    draws: NDArray[np.int64] = by_class[starts[drawn] + within].astype(np.int64)
    return draws
