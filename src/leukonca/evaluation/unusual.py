"""Learning what training cells look like to the head, so that a cell of another kind can be told apart.

Only features of training images are fitted; the threshold comes from validation images.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from leukonca.data.augment import centre_images, normalise
from leukonca.data.cells import Cells
from leukonca.data.splits import Split
from leukonca.data.varied import WAYS, turn
from leukonca.errors import DataError, ModelError
from leukonca.evaluation.flags import unusual
from leukonca.evaluation.intervals import share_score
from leukonca.evaluation.separation import separation
from leukonca.models.classifier import Classifier
from leukonca.models.config import ModelConfig
from leukonca.models.nca import NCAClassifier
from leukonca.models.unusual import LARGEST, NEIGHBOR, UnusualScore, directions
from leukonca.progress import bar

ACCEPTED = 95
"""Percent of the validation images that a threshold accepts, at least."""

PER_CLASS = 100
"""Looks at training images of a class: each is kept with the model, and more change little. The same number of every
class, or the cells of a rare one would lie too far from each other to be usual."""

KEPT = 2000
"""Scores of validation images that are kept with the model, at most."""

BATCH = 32


def fit_unusual(features: NDArray[np.floating[Any]]) -> UnusualScore:
    """Keep the directions of training images' features, each channel in 127ths of its largest share.

    Args:
        features: the head's input, [N, C]; at least `NEIGHBOR` rows.

    Raises:
        DataError: fewer images than the score needs, or all with the same features.
        ModelError: features that are not finite.

    Source: see `UnusualScore`.
    """
    if not np.isfinite(features).all():
        raise ModelError("features of training images are not finite; the model was not trained well")
    if len(features) < NEIGHBOR:
        raise DataError(f"{len(features)} images: too few to learn what is usual; needs {NEIGHBOR}")
    known = directions(features)
    most = np.abs(known).max(axis=0)
    unit = np.where(most > 0, most / LARGEST, 1.0).astype(np.float32)
    rounded = np.clip(np.round(known / unit), -LARGEST, LARGEST).astype(np.int8)
    if (rounded == rounded[0]).all():
        raise DataError("all training images have the same features: nothing tells what is usual")
    return UnusualScore(cells=rounded, unit=unit, usual=np.empty(0, np.float32))


def threshold(scores: NDArray[np.floating[Any]], accepted: int = ACCEPTED) -> float:
    """The smallest score of these that at least `accepted` percent of them do not exceed.

    A cell is unusual if its score is above. Of N scores, the one at place ceil(N x accepted / 100) in rising order is
    taken, so the share that is accepted is rounded up to whole images.

    Args:
        scores: of validation images, finite, [N].
        accepted: percent, 1 to 100.

    Raises:
        DataError: there is no score.
    """
    if len(scores) == 0:
        raise DataError("no validation image: the threshold for unusual cells cannot be chosen")
    place = -(-len(scores) * accepted // 100)
    return float(np.sort(scores)[place - 1])


def learn_unusual(model: Classifier, cells: Cells, split: Split, *, seed: int = 0, quiet: bool = False) -> None:
    """Give an automaton the score and the threshold that its `unusual` flag needs; other models have none.

    So do automata of very few training cells, which say nothing about what is usual.

    Each look at an image is a run with a seed of its own, so that the spread that random firing brings belongs to what
    is usual. Of every class there are as many (`PER_CLASS`): at different cells, or where they are fewer at each
    several times, turned and mirrored.

    Args:
        model: trained on these cells; gets `unusual`, and in its config the threshold and how it was chosen.
        cells: of the training center.
        split: that the model was trained with; its test part is not touched.
        seed: of the choice of images and of the fire masks.
        quiet: no progress bar.

    Raises:
        DataError: the validation part is empty.
        ModelError: features that are not finite.
    """
    model.unusual = None
    model.config = replace(
        model.config,
        thresholds={name: value for name, value in model.config.thresholds.items() if name != "unusual"},
        calibration={name: value for name, value in model.config.calibration.items() if name != "unusual"},
    )
    if not isinstance(model, NCAClassifier) or len(split.train) <= NEIGHBOR:
        return
    generator = np.random.default_rng([seed, *b"unusual"])
    train, ways = looks(split.train, cells.labels, generator)
    seen, as_they_are = np.concatenate([train, split.validation]), np.zeros_like(split.validation)
    features = cell_features(model, cells, seen, generator, np.concatenate([ways, as_they_are]), quiet=quiet)
    try:
        score = fit_unusual(features[: len(train)])
    except DataError:
        return
    scores = score.of(features[len(train) :])
    limit = threshold(scores)
    facts = {
        "training_images": len(np.unique(train)),
        "validation_images": len(scores),
        "accepted": float((scores <= limit).mean()),
    }
    model.unusual = replace(score, usual=kept_scores(scores))
    model.config = replace(
        model.config,
        thresholds={**model.config.thresholds, "unusual": limit},
        calibration={**model.config.calibration, "unusual": facts},
    )


@contextmanager
def head_inputs(model: Classifier) -> Iterator[list[NDArray[np.float32]]]:
    """Collects what the head of an automaton is given while the block runs, [B, C] a call; of other models nothing."""
    seen: list[NDArray[np.float32]] = []
    if not isinstance(model, NCAClassifier):
        yield seen
        return
    hook = model.head.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach().cpu().numpy()))
    try:
        yield seen
    finally:
        hook.remove()


def unusual_facts(
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    *,
    config: ModelConfig,
    usual: NDArray[np.floating[Any]] | None = None,
    patients: NDArray[np.int64] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """How many tested cells are flagged, and how well the score tells them from the training center's.

    Args:
        scores: of the tested cells, [N], at least one.
        labels: int64 [N], positions in `classes`.
        classes: names.
        config: of the model, with a threshold for the flag.
        usual: scores of the training center's validation cells, where the tested ones come from elsewhere.
        patients: the number of each tested cell's, int64 [N]; None: not known. See `leukonca.evaluation.intervals`.
        seed: of the bootstrap.

    Returns:
        Plain JSON types: ``threshold``; ``flagged``, a share with Wilson's interval; ``classes``, the same of each
        class that has cells; with `usual` also ``auroc`` and ``fpr95`` (see `separation`).
    """
    flagged = unusual(scores, config)

    facts: dict[str, Any] = {
        "threshold": config.thresholds["unusual"],
        "flagged": share_score(flagged, None, patients),
        "classes": {classes[k]: share_score(flagged, labels == k, patients) for k in np.unique(labels)},
    }
    if usual is None or len(usual) == 0:
        return facts
    return {**facts, **separation(usual, scores, patients=patients, seed=seed)}


def kept_scores(scores: NDArray[np.float64]) -> NDArray[np.float32]:
    """Rising scores; of more than `KEPT`, so many that lie evenly among them."""
    places = (
        np.arange(len(scores)) if len(scores) <= KEPT else np.linspace(0, len(scores) - 1, KEPT).round().astype(int)
    )
    kept: NDArray[np.float32] = np.sort(scores)[places].astype(np.float32)
    return kept


def looks(
    indices: NDArray[np.int64], labels: NDArray[np.int64], generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`PER_CLASS` looks at every class: at different cells, or where they are fewer at each again in another way.

    Returns:
        Which cell, and in which of the eight ways it is turned and mirrored (`turn`), int64 [M] each; those that are
        as they are come first.
    """
    mixed, number = generator.permutation(indices), np.arange(PER_CLASS)
    of_each = [mixed[labels[mixed] == label][:PER_CLASS] for label in np.unique(labels[indices])]
    chosen = np.concatenate([mine[number % len(mine)] for mine in of_each])
    ways = np.concatenate([number // len(mine) % WAYS for mine in of_each])
    order = np.lexsort((chosen, ways))
    return chosen[order], ways[order]


@torch.no_grad()
def cell_features(
    model: NCAClassifier,
    cells: Cells,
    indices: NDArray[np.int64],
    generator: np.random.Generator,
    ways: NDArray[np.int64] | None = None,
    *,
    quiet: bool = False,
) -> NDArray[np.float32]:
    """The head's input for some cells, turned and mirrored in some ways or as they are, float32 [N, C].

    A fire seed is drawn for each.
    """
    was_training = model.training
    model.eval()
    seeds = generator.integers(0, 1 << 32, size=len(indices), dtype=np.uint32)
    parts = [np.empty((0, model.architecture.channels), np.float32)]
    with bar(f"looking at {cells.center}", len(indices), quiet=quiet) as shown:
        for low in range(0, len(indices), BATCH):
            batch = indices[low : low + BATCH]
            squares = cells.images[batch]  # uint8 [B, side, side, 3]
            if ways is not None:
                squares = np.stack([turn(square, way) for square, way in zip(squares, ways[low:], strict=False)])
            views = centre_images(torch.from_numpy(np.ascontiguousarray(squares)), cells.preprocessing)
            images = normalise(views, *model.config.normalisation(), cells.preprocessing.stain)
            pooled = model.features(images.to(model.device), seed=seeds[low : low + BATCH])  # [B, C]
            parts.append(pooled.cpu().numpy())
            shown.advance(len(batch))
    model.train(was_training)
    return np.concatenate(parts)
