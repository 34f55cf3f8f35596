"""From a model and an image to an `Explanation`; torch is needed for other engines than the processor's own only."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from leukonca.automaton.fire import check_seeds
from leukonca.automaton.rule import IMAGE_CHANNELS, Rule
from leukonca.data.preprocessing import centre_view, preprocess, scale_of
from leukonca.errors import ModelError, UsageError
from leukonca.evaluation.flags import flags
from leukonca.evaluation.prior import Prior, Shares, find_prior
from leukonca.explain.explanation import Explanation
from leukonca.explain.head import Head, HeadRelevance, head_relevance
from leukonca.explain.masks import check_mask, cut_mask
from leukonca.explain.pooling import check_pooling, shares, winners
from leukonca.models.config import ModelConfig, scale_for
from leukonca.models.folder import Weights, read_model, read_unusual
from leukonca.models.inputs import inputs_of
from leukonca.models.patches import from_patches, to_patches
from leukonca.models.pooling import POOLINGS
from leukonca.models.presets import Architecture
from leukonca.models.unusual import UnusualScore

Floats = NDArray[np.float32]

TOP = 6
"""Channels whose history is kept and shown, unless told otherwise."""

EPSILON = 0.01
"""Of the rule in the automaton, unless told otherwise; see docs/explanation.md for the choice."""

OWN_ENGINES = ("auto", "cpu")
"""Engines that need no torch."""


class Model(Protocol):
    """What an explainer needs of an `NCAClassifier` or a `Predictor`."""

    config: ModelConfig

    @property
    def unusual(self) -> UnusualScore | None:
        """Tells cells apart that are like none trained on."""

    def weights(self) -> Weights:
        """All parameters as float32 arrays, by name."""


class Explainer:
    """Explains one model's predictions, one image at a time.

    Args:
        model: a model folder, the name of a shipped model, an `NCAClassifier` or a `Predictor`.
        engine: which engine runs the automaton: ``auto`` and ``cpu`` are the processor's own; the others need torch.

    Raises:
        ModelError: the model is missing, damaged, never trained or no automaton, or relevance cannot be carried back
            through its pooling.
        UsageError: there is no such engine.
    """

    def __init__(self, model: str | Path | Model, *, engine: str = "auto") -> None:
        if isinstance(model, str | Path):
            name = str(model)
            self.config, weights = read_model(model)
            self._unusual = read_unusual(model)
        else:
            name, self.config, weights, self._unusual = "this model", model.config, model.weights(), model.unusual
        architecture = self.config.architecture
        if not isinstance(architecture, Architecture):
            raise ModelError(f"{name}: {architecture.words}; only an automaton can be explained")
        self.architecture = architecture
        check_pooling(architecture.pooling)
        self.rule, self.head = _parts(architecture, weights, name)
        self.attention = weights.get("attention")
        self.config.normalisation()  # raises if it was never fitted
        if engine not in OWN_ENGINES:
            from leukonca.automaton.engines import check_engine

            check_engine(engine)
        self.engine = engine
        self._pool = POOLINGS[architecture.pooling].of_array

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of the model's outputs."""
        return self.config.classes

    def check_class(self, name: str | None) -> None:
        """Raise a `UsageError` for a class that the model does not know; None is none in particular."""
        if name is not None and name not in self.classes:
            raise UsageError(f"class {name!r}: this model knows {', '.join(self.classes)}")

    def __call__(
        self,
        image: NDArray[np.uint8],
        *,
        target: str | None = None,
        image_um: float | None = None,
        seed: int = 0,
        steps: int | None = None,
        top: int = TOP,
        pixels: bool = True,
        epsilon: float = EPSILON,
        mask: NDArray[np.uint8] | None = None,
        prior: str | Path | Shares | Prior | None = None,
    ) -> Explanation:
        """Explain one image.

        Args:
            image: uint8 [H, W, 3], of any size.
            target: the class to explain; None: the predicted one.
            image_um: what the image's shorter side shows, um; None: as on the images the model was trained on.
            seed: of the fire masks, in [0, 2^32).
            steps: of the run; None: as in the model.
            top: channels whose history is kept.
            pixels: also carry relevance back to the pixels, which takes about twice as long as the run.
            epsilon: of the rule there, see `pixel_relevance`; 0: gradient times input.
            mask: uint8 [H, W] of the image's size: 255 nucleus, 128 cytoplasm, 0 the rest.
            prior: how often each class is expected, as in `Predictor.__call__`: it weighs the probabilities, and so
                may change which class is predicted; what is relevant for a class it does not change.

        Raises:
            UsageError: a class that the model does not know, no such prior, or another setting out of range.
            DataError: a mask whose size or values do not fit.
            ModelError: the automaton's values overflow on this image, or the model cannot have a prior.
        """
        self.check_class(target)
        expected = find_prior(prior, self.config)
        check_seeds([seed], 1)
        for name, value in (("steps", steps), ("top", top)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise UsageError(f"{name} {value!r}: must be a whole number of at least 1")
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != IMAGE_CHANNELS:
            raise UsageError(f"image: {image.dtype} {image.shape}; expected uint8 [H, W, 3]")
        settings = self.config.preprocessing
        um = scale_of(image, settings, scale_for(self.config, image_um))
        if mask is not None:
            mask = cut_mask(check_mask(mask, image.shape[:2], name="mask"), settings, um)
        square = centre_view(preprocess(image, settings, um), settings)
        states = self._run(square, seed, self.architecture.steps if steps is None else steps)
        with np.errstate(over="ignore", invalid="ignore"):
            features = np.stack([self._pool(state, self.attention) for state in states[1:]])  # [steps, C]
            logits = self.head.logits(features)
        if not np.isfinite(logits).all():
            raise ModelError("the automaton's values overflow on this image; the model was not trained well")
        alone = _softmax(logits / np.float32(self.config.temperature))  # [steps, K]
        by_step = alone if expected is None else expected.weigh(alone)[0].astype(np.float32)
        predicted, without_prior = (self.classes[int(said[-1].argmax())] for said in (by_step, alone))
        target = predicted if target is None else target
        relevance = head_relevance(features[-1], self.head, self.classes.index(target))
        leading = tuple(np.argsort(-np.abs(relevance.channels), kind="stable")[:top].tolist())
        return Explanation(
            target=target,
            predicted=predicted,
            classes=self.classes,
            image=square,
            um_per_pixel=_um_per_pixel(self.config, image.shape[:2], um),
            seed=seed,
            probabilities=by_step[-1],
            by_step=by_step,
            logit=relevance.logit,
            channels=relevance.channels.astype(np.float32),
            head_bias=relevance.bias,
            head_absorbed=relevance.absorbed,
            state=states[-1].copy(),
            winners=winners(states[-1]),
            top=leading,
            history=np.ascontiguousarray(states[1:, :, :, list(leading)].transpose(0, 3, 1, 2)),
            epsilon=epsilon,
            mask=mask,
            prior="" if expected is None else expected.name,
            without_prior="" if expected is None else without_prior,
            **self._doubts(by_step[-1], features, changed=predicted != without_prior),
            **(self._pixels(states, relevance, seed, epsilon) if pixels else {}),
        )

    def _doubts(self, probabilities: Floats, features: Floats, *, changed: bool) -> dict[str, Any]:
        """What a prediction would flag; `features` after every step, [steps, C]; `changed`: by a prior."""
        as_trained = self._unusual is not None and len(features) == self.architecture.steps
        score = self._unusual.of(features[-1:]) if self._unusual and as_trained else np.full(1, np.nan)
        (flag,) = flags(probabilities[None], score.astype(np.float32), self.config, np.array([changed]))
        return {
            "flag": flag,
            "unusual": float(score[0]) if as_trained else None,
            "unusual_above": self.config.thresholds.get("unusual"),
        }

    def _pixels(self, states: Floats, relevance: HeadRelevance, seed: int, epsilon: float) -> dict[str, Any]:
        from leukonca.explain.rollout import pixel_relevance  # compiles: not for channels alone

        divided = shares(self.architecture.pooling, states[-1], self.attention)
        signal = divided * relevance.signal.astype(np.float32)
        rate = self.architecture.fire_rate
        found = pixel_relevance(
            states,
            self.rule,
            signal,
            fire_rate=rate,
            seed=seed,
            epsilon=epsilon,
            frozen=self.architecture.image_channels,
        )
        if not np.isfinite(found.pixels).all():
            raise ModelError("relevance overflows on its way back through the steps; the model was not trained well")
        return {
            "pixels": from_patches(found.pixels, self.architecture.patch),
            "read": found.read.astype(np.float32),
            "direct": found.direct,
            "step_bias": found.bias.astype(np.float32),
            "step_absorbed": found.absorbed.astype(np.float32),
        }

    def _run(self, square: NDArray[np.uint8], seed: int, steps: int) -> Floats:
        """All states, the first included, [steps + 1, H, W, C]."""
        images = to_patches(inputs_of(square[None], self.config), self.architecture.patch)  # [1, K, H, W]
        settings: dict[str, Any] = {"steps": steps, "fire_rate": self.architecture.fire_rate}
        if self.engine in OWN_ENGINES:
            from leukonca.automaton.cpu import rollout_recorded  # numba takes a second to import: not for --help

            recorded = rollout_recorded(images, self.rule, seeds=seed, **settings)[:, 0]
        else:
            recorded = _run_with_torch(self.engine, images, self.rule, seed, settings)
        states = np.zeros((steps + 1, *recorded.shape[1:]), np.float32)
        states[0, :, :, : images.shape[1]] = images[0].transpose(1, 2, 0)
        states[1:] = recorded
        return states


def explain_cell(model: str | Path | Model, image: NDArray[np.uint8], **settings: Any) -> Explanation:
    """Explain one prediction; for many, make one `Explainer`.

    Args:
        model: a model folder, the name of a shipped model, an `NCAClassifier` or a `Predictor`.
        image: uint8 [H, W, 3].
        settings: see `Explainer.__call__`, where the errors are, too.

    Example::

        why = leukonca.explain_cell("runs/mine", read_image("cell.png"), image_um=36.0)
        print(why.predicted, why.order()[:3], why.pixel_map())
    """
    return Explainer(model)(image, **settings)


def _run_with_torch(
    engine: str, images: NDArray[np.float32], rule: Rule, seed: int, settings: dict[str, Any]
) -> Floats:
    import torch

    from leukonca.automaton.engines import run

    parameters: Any = tuple(torch.from_numpy(array) for array in vars(rule).values())
    seeds = check_seeds(seed, 1)
    with torch.no_grad():
        recorded = run(engine, torch.from_numpy(images), parameters, seeds=seeds, record=True, **settings)
    states: Floats = recorded[:, 0].permute(0, 2, 3, 1).numpy()
    return states


def _softmax(scores: Floats) -> Floats:
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities: Floats = (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)
    return probabilities


def _um_per_pixel(config: ModelConfig, size: tuple[int, int], image_um: float | None) -> float | None:
    """What a pixel that the automaton sees shows, um, where the scale is known and the same in both directions."""
    if image_um is None:
        return None
    field = config.preprocessing.field_um
    if field is None:  # the whole image, whatever its shape, on a square
        return image_um / config.preprocessing.grid if max(size) <= _NEARLY_SQUARE * min(size) else None
    return field / config.preprocessing.grid


_NEARLY_SQUARE = 1.02


def _parts(architecture: Architecture, weights: Weights, name: str) -> tuple[Rule, Head]:
    """Rule and head of a model's weights."""
    rule_names = tuple(Rule.__dataclass_fields__)
    head_names = ("head.0.weight", "head.0.bias", "head.2.weight", "head.2.bias")
    missing = [part for part in (*rule_names, *head_names) if part not in weights]
    if missing:
        raise ModelError(f"{name}: the weights are not those of an NCA classifier (missing: {', '.join(missing)})")
    try:
        rule = Rule(**{part: np.ascontiguousarray(weights[part], np.float32) for part in rule_names})
        head = Head(*(weights[part] for part in head_names))
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from error
    if (rule.channels, rule.hidden, head.first.shape[1]) != (
        architecture.channels,
        architecture.hidden,
        architecture.channels,
    ):
        raise ModelError(f"{name}: the weights are not those that the config tells of; copy the model folder again")
    return rule, head
