"""Prediction without torch: a model folder in, probabilities out."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from leukonca.data.preprocessing import centre_view, preprocess
from leukonca.data.varied import varied_view
from leukonca.deploy.checks import automaton_of, checked_images, split_weights
from leukonca.errors import ModelError, UsageError
from leukonca.evaluation.flags import flags
from leukonca.evaluation.prior import Prior, Shares, find_prior
from leukonca.evaluation.runs import check_runs
from leukonca.evaluation.uncertainty import entropy
from leukonca.models.config import scale_for
from leukonca.models.deterministic import as_deterministic
from leukonca.models.folder import Weights, read_model, read_unusual
from leukonca.models.inputs import inputs_of
from leukonca.models.patches import to_patches
from leukonca.models.pooling import POOLINGS

BATCH = 32
"""Images worked on together unless told otherwise; results do not depend on it."""

Images = NDArray[np.uint8] | Sequence[NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model says about N images.

    Args:
        probabilities: mean over the runs, float32 [N, K]; each row sums to 1.
        uncertainty: entropy of that mean divided by log K, float32 [N]: 0 for one certain class, 1 when all K
            classes are equally likely. It is the sum of the next two.
        expected_entropy: mean over the runs of each run's own entropy, divided by log K, float32 [N]: doubt that every
            run has.
        mutual_information: between the answer and which run gave it, divided by log K, float32 [N]: what the runs
            disagree about; 0 for a single run (see `leukonca.evaluation.uncertainty.decompose`).
        labels: the most probable class's name, [N].
        flags: "", "uncertain" or "unusual" (see `leukonca.evaluation.flags`), [N].
        classes: names in the order of the probabilities' columns, [K].
        unusual: how unlike the training cells each is, mean over the runs, float32 [N] (see
            `leukonca.models.unusual`); NaN where the model cannot tell.
        changed: whether the label would be another one without the prior, bool [N].
    """

    probabilities: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    expected_entropy: NDArray[np.float32]
    mutual_information: NDArray[np.float32]
    labels: tuple[str, ...]
    flags: tuple[str, ...]
    classes: tuple[str, ...]
    unusual: NDArray[np.float32]
    changed: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.labels)


class Answers(NamedTuple):
    """What several runs say of B images.

    Args:
        probabilities: mean over the runs, with the prior, float32 [B, K]; a row of NaN where the automaton's values
            overflow.
        expected: mean of the runs' entropies, nats, float64 [B]; with a prior, weighed by each run's share in the mean.
        unusual: mean of the scores of `leukonca.models.unusual`, float32 [B]; NaN where the model holds none.
        changed: whether the most probable class would be another one without the prior, bool [B].
    """

    probabilities: NDArray[np.float32]
    expected: NDArray[np.float64]
    unusual: NDArray[np.float32]
    changed: NDArray[np.bool_]

    def of(self, image: int) -> "Answers":
        """Of one image alone, B = 1."""
        one = slice(image, image + 1)
        return Answers._make(part[one] for part in self)


class Predictor:
    """A trained model that runs on numpy alone.

    An image's result depends on its pixels, the settings and the seed only: not on the images beside it, the batch
    size or the number of threads.

    Args:
        folder_or_name: a model folder, or the name of a shipped model.
        deterministic: every cell fires, and the seed has no effect (see `leukonca.models.deterministic`); no cell is
            flagged unusual then.

    Raises:
        ModelError: it is missing, damaged or was never trained.

    Example::

        predictor = leukonca.Predictor("runs/acevedo20")
        predictor([image, another], runs=8).labels  # ('monocyte', 'eosinophil')
    """

    def __init__(self, folder_or_name: str | Path, *, deterministic: bool = False) -> None:
        self.config, self._weights = read_model(folder_or_name)
        self._architecture = automaton_of(self.config, str(folder_or_name))
        self._rule, self._head = split_weights(self.config, self._weights, str(folder_or_name))
        if deterministic:
            self.config, self._weights = as_deterministic(self.config, self._weights)
            self._architecture = automaton_of(self.config, str(folder_or_name))
            self._rule, _ = split_weights(self.config, self._weights, str(folder_or_name))
        self._attention = self._weights.get("attention")
        self.unusual = None if deterministic else read_unusual(folder_or_name)
        """Tells cells apart that are like none trained on."""
        self.config.normalisation()  # raises if it was never fitted

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of the probabilities."""
        return self.config.classes

    def __call__(
        self,
        images: Images,
        *,
        image_um: float | None = None,
        runs: int = 1,
        varied: bool = False,
        prior: str | Path | Shares | Prior | None = None,
        seed: int = 0,
        batch_size: int = BATCH,
    ) -> Predictions:
        """Classify images.

        Args:
            images: uint8 [H, W, 3] each, of any sizes; a sequence of them or one array [N, H, W, 3].
            image_um: what the images' shorter side shows, um; None: as on the images the model was trained on.
            runs: how often each image is run, with seeds seed, seed + 1, ...; probabilities are averaged.
            varied: each run sees the image in another way, turned, mirrored, larger or smaller
                (`leukonca.data.varied`); the first as it is.
            prior: how often each class is expected: ``"blood"``, a TOML file or shares by class (see
                `leukonca.evaluation.prior`); None: as the model was trained, by default as often as any other.
            seed: of the first run, in [0, 2^32).
            batch_size: images worked on together.

        Raises:
            UsageError: images of another type or shape, or a setting out of range.
            ModelError: the automaton's values overflow on an image, or the model cannot have a prior.
        """
        self.check(image_um=image_um, runs=runs, varied=varied, seed=seed, batch_size=batch_size)
        expected = find_prior(prior, self.config)
        checked = checked_images(images)
        rows = [self._none()]
        for low in range(0, len(checked), batch_size):
            squares = np.stack([self.square(image, image_um=image_um) for image in checked[low : low + batch_size]])
            rows.append(self.answers(squares, runs=runs, varied=varied, prior=expected, seed=seed))
        found = Answers._make(map(np.concatenate, zip(*rows, strict=True)))
        lost = np.flatnonzero(~np.isfinite(found.probabilities).all(axis=1))
        if lost.size:
            raise ModelError(f"image {lost[0]}: the automaton's values overflow; the model was not trained well")
        return self.judge(found)

    def check(
        self, *, image_um: float | None, runs: int, varied: bool = False, seed: int = 0, batch_size: int = BATCH
    ) -> None:
        """Raise a `UsageError` for a setting of a prediction that is out of range; arguments as of `__call__`."""
        check_settings(image_um=image_um, batch_size=batch_size)
        check_runs(runs, varied=varied, seed=seed, at_random=self._architecture.fires_at_random)

    def prepare(self, image: NDArray[np.uint8], *, image_um: float | None = None) -> NDArray[np.uint8]:
        """Cut and resize one image exactly as for training and testing.

        Args:
            image: uint8 [H, W, 3].
            image_um: see `__call__`.

        Returns:
            What the automaton sees, uint8 [grid, grid, 3].
        """
        return centre_view(self.square(image, image_um=image_um), self.config.preprocessing)

    def square(self, image: NDArray[np.uint8], *, image_um: float | None = None) -> NDArray[np.uint8]:
        """The same with margins around it, which some views of varied runs show: uint8 [side, side, 3]."""
        return preprocess(image, self.config.preprocessing, scale_for(self.config, image_um))

    def probabilities(self, views: NDArray[np.uint8], *, seed: int = 0) -> NDArray[np.float32]:
        """What one run says of views from `prepare`, uint8 [B, grid, grid, 3]: float32 [B, K]."""
        return self._classify(self.features(views, seed=seed), self.config.temperature)

    def answers(
        self,
        squares: NDArray[np.uint8],
        *,
        runs: int = 1,
        varied: bool = False,
        prior: Prior | None = None,
        seed: int = 0,
    ) -> Answers:
        """What the model says of images with their margins.

        Args:
            squares: from `square`, uint8 [B, side, side, 3].
            runs: see `__call__`.
            varied: see `__call__`.
            prior: of this model's classes.
            seed: see `__call__`.

        Raises:
            UsageError: squares of another shape.
        """
        self._check_shape(squares, self.config.preprocessing.side, "square")
        total = np.zeros((len(squares), len(self.classes)))
        expected, unusual, weights = np.zeros((3, len(squares)))
        temperature = self.config.temperature_of(varied=varied)
        for features in self._runs(squares, runs, varied, seed):
            probabilities = self._classify(features, temperature)
            total += probabilities
            weighed, weight = (probabilities, 1.0) if prior is None else prior.weigh(probabilities)
            expected += weight * entropy(weighed)  # a run counts by how likely it makes what is expected
            weights += weight
            unusual += self.unusual.of(features) if self.unusual else np.nan
        mean = total / runs
        answers = mean if prior is None else prior.weigh(mean)[0]
        return Answers(
            probabilities=answers.astype(np.float32),
            expected=expected / weights,
            unusual=(unusual / runs).astype(np.float32),
            changed=answers.argmax(axis=1) != mean.argmax(axis=1),
        )

    def _runs(self, squares: NDArray[np.uint8], runs: int, varied: bool, seed: int) -> Iterator[NDArray[np.float32]]:
        """The features of every run, [B, channels] each; of a few images several runs are computed at once."""
        settings = self.config.preprocessing
        plain = centre_view(squares, settings)
        together = max(1, BATCH // max(1, len(squares)))
        for first in range(0, runs, together):
            chosen = range(first, min(first + together, runs))
            views = [varied_view(squares, settings, run) if varied else plain for run in chosen]
            every = np.concatenate(views)  # [T B, grid, grid, 3]
            seeds = np.repeat(np.array([seed + run for run in chosen], np.uint32), len(squares))
            yield from self.features(every, seed=seeds).reshape(len(chosen), len(squares), -1)

    def _check_shape(self, images: NDArray[np.uint8], side: int, method: str) -> None:
        if images.dtype != np.uint8 or images.shape[1:] != (side, side, 3):
            raise UsageError(
                f"images are {images.dtype} {list(images.shape)}: expected uint8 [B, {side}, {side}, 3], "
                f"from the predictor's `{method}`"
            )

    def _none(self) -> Answers:
        """Of no image."""
        none = np.zeros((0, len(self.classes)), np.float32)
        return Answers(none, np.zeros(0), np.zeros(0, np.float32), np.zeros(0, np.bool_))

    def features(self, views: NDArray[np.uint8], *, seed: int | NDArray[np.uint32] = 0) -> NDArray[np.float32]:
        """What the head sees of views: one value of every channel, pooled over the cells of the last state.

        Args:
            views: from `prepare`, uint8 [B, grid, grid, 3].
            seed: of the fire masks, in [0, 2^32); one for all, or one an image, [B].

        Returns:
            float32 [B, channels]; values that are not finite where the automaton's overflow.

        Raises:
            UsageError: views of another shape.
        """
        from leukonca.automaton.cpu import rollout  # numba takes a second to import: not for --help

        self._check_shape(views, self.config.preprocessing.grid, "prepare")
        a, pool = self._architecture, POOLINGS[self._architecture.pooling].of_array
        images = to_patches(inputs_of(views, self.config), a.patch)  # [B, 3 p^2, H, W], H and W in cells
        states = rollout(images, self._rule, steps=a.steps, fire_rate=a.fire_rate, seeds=seed)  # [B, H, W, C]
        with np.errstate(over="ignore", invalid="ignore"):
            pooled: NDArray[np.float32] = np.stack([pool(state, self._attention) for state in states])
        return pooled

    def weights(self) -> Weights:
        """All parameters as float32 arrays, by name; not copies."""
        return self._weights

    @property
    def untrained(self) -> frozenset[str]:
        """Classes that the model has an output for but no training image; empty where that is not known."""
        trained = self.config.trained_classes
        return frozenset(self.classes) - frozenset(trained) if trained else frozenset()

    def judge(self, found: Answers) -> Predictions:
        """Labels, uncertainties and flags that follow from finite answers."""
        probabilities, most = found.probabilities, max(math.log(len(self.classes)), 1e-12)
        total = np.clip(entropy(probabilities) / most, 0, 1)
        expected = np.clip(found.expected / most, 0, total)  # rounding may leave it a little above
        return Predictions(
            probabilities=probabilities,
            uncertainty=total.astype(np.float32),
            expected_entropy=expected.astype(np.float32),
            mutual_information=(total - expected).astype(np.float32),
            labels=tuple(self.classes[i] for i in probabilities.argmax(axis=1)),
            flags=flags(probabilities, found.unusual, self.config, found.changed),
            classes=self.classes,
            unusual=found.unusual,
            changed=found.changed,
        )

    def _classify(self, features: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
        """Probabilities [B, K] of features [B, C]."""
        first, first_bias, last, last_bias = self._head
        with np.errstate(over="ignore", invalid="ignore"):
            hidden = np.maximum(_linear(features, first, first_bias), 0)
            logits = _linear(hidden, last, last_bias) / np.float32(temperature)  # [B, K]
            odds = np.exp(logits - logits.max(axis=1, keepdims=True))
            probabilities: NDArray[np.float32] = odds / odds.sum(axis=1, keepdims=True)
        return probabilities


def check_settings(*, image_um: float | None, batch_size: int = BATCH) -> None:
    """Raise a `UsageError` for a setting of a prediction that is out of range."""
    if image_um is not None and not (math.isfinite(image_um) and image_um > 0):
        raise UsageError(f"image_um {image_um}: must be a positive number of micrometers")
    if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer) or batch_size < 1:
        raise UsageError(f"batch_size {batch_size!r}: must be a whole number of at least 1")


def _linear(
    features: NDArray[np.float32], weight: NDArray[np.float32], bias: NDArray[np.float32]
) -> NDArray[np.float32]:
    """[B, n] -> [B, m]; by sums over single rows: a matrix product rounds differently for different B."""
    result: NDArray[np.float32] = (features[:, None, :] * weight).sum(axis=2) + bias
    return result
