"""Temperature and thresholds of a model, chosen on validation images: never on those that it is tested on."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp

from leukonca.data.cells import Cells
from leukonca.data.official import split_for
from leukonca.data.splits import Split
from leukonca.errors import DataError, ModelError
from leukonca.evaluation.calibration import expected_calibration_error, tempered
from leukonca.evaluation.flags import confidence, uncertain
from leukonca.evaluation.run import predicted_logits
from leukonca.evaluation.uncertainty import log_losses
from leukonca.models.classifier import Classifier
from leukonca.models.config import ModelConfig

Floats = NDArray[np.float64]

HOTTEST = 20.0
"""Temperatures are looked for between its reciprocal and this."""

WANTED = 0.95
"""Share of the cells that are not flagged `uncertain` which is to be right."""

VARIED_RUNS = 8
"""Varied runs that their temperature is chosen for."""

FEWEST = 20
"""Cells that a threshold must accept, or the share that is right means little: 20 of 20 may be 84%."""


def fit_temperature(logits: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> float:
    """The temperature at which the mean negative log likelihood is least.

    In 1 / temperature the loss of one run is convex, so there is one minimum. Where every cell is right by far there is
    none, and the least temperature that is looked at is the answer; where a true class has probability 0, which a
    random forest may say, the loss is infinite at every temperature and the answer is 1.

    Args:
        logits: of one run, [N, K], or of several, [R, N, K], whose probabilities are averaged before they are judged.
        labels: true classes, int64 [N].

    Raises:
        DataError: there is nothing to fit to.

    Source: Guo et al. 2017 (arXiv 1706.04599), section 4.2.
    """
    z = np.asarray(logits, np.float64)
    z = z[None] if z.ndim == 2 else z  # [R, N, K]
    rows = np.arange(z.shape[1])
    if len(rows) == 0:
        raise DataError("no validation image to fit a temperature to")
    if not np.isfinite(z[:, rows, labels]).any(axis=0).all():
        return 1.0

    def loss(log_temperature: float) -> float:
        likelihoods = log_softmax(z / np.exp(log_temperature), axis=2)[:, rows, labels]  # logarithms, [R, N]
        return float(np.log(len(z)) - logsumexp(likelihoods, axis=0).mean())

    span = np.log(HOTTEST)
    return float(np.exp(minimize_scalar(loss, bounds=(-span, span), method="bounded", options={"xatol": 1e-6}).x))


def choose_threshold(sure: NDArray[np.floating[Any]], right: NDArray[np.bool_]) -> float | None:
    """The lowest confidence to accept, so that at least `WANTED` of what is accepted is right.

    Of all thresholds that accept `FEWEST` cells or more, that which accepts most of those that reach `WANTED`; where
    none does, that which accepts most of those that come nearest. It lies midway to the next confidence below.

    Args:
        sure: how much each cell is, [N].
        right: bool [N].

    Returns:
        Cells below it are uncertain. None: there are fewer than `FEWEST` cells.
    """
    order = np.argsort(-sure, kind="stable")
    ranked = sure[order].astype(np.float64)
    ends = np.flatnonzero(np.append(ranked[1:] < ranked[:-1], True)) + 1  # equal ones are accepted together
    ends = ends[ends >= FEWEST]
    if len(ends) == 0:
        return None
    share = np.cumsum(right[order])[ends - 1] / ends
    end = int(ends[np.flatnonzero(share >= min(WANTED, share.max()))[-1]])
    return float(ranked[end - 1] + ranked[end]) / 2 if end < len(ranked) else 0.0


def calibrated(
    config: ModelConfig, logits: NDArray[np.floating[Any]], labels: NDArray[np.int64], *, seed: int = 0
) -> ModelConfig:
    """The config with temperature and threshold chosen on these answers, and with what they reach there.

    Args:
        config: of the model.
        logits: of one run on validation images, before any temperature, [N, classes].
        labels: int64 [N].
        seed: of that run; noted.
    """
    temperature = fit_temperature(logits, labels)
    before, after = tempered(logits, 1.0), tempered(logits, temperature)
    sure, right = confidence(after, config), after.argmax(axis=1) == labels
    threshold = choose_threshold(sure, right)
    facts: dict[str, Any] = {
        "part": "validation",
        "images": len(labels),
        "seed": seed,
        "accuracy": float(right.mean()),
        "before": _scores(before, labels),
        "after": _scores(after, labels),
    }
    thresholds = {name: value for name, value in config.thresholds.items() if name != "uncertain"}
    if threshold is not None:
        accepted = (sure >= threshold) & (sure > 0)
        facts["uncertain"] = {
            "wanted_accuracy": WANTED,
            "accepted": float(accepted.mean()),
            "accuracy_of_accepted": float(right[accepted].mean()),
        }
        thresholds["uncertain"] = threshold
    others = {name: value for name, value in config.calibration.items() if name == "unusual"}
    return replace(
        config,
        temperature=temperature,
        varied_temperature=None,
        thresholds=thresholds,
        calibration={**others, **facts},
    )


def calibrated_varied(config: ModelConfig, logits: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> ModelConfig:
    """The config with a temperature for varied runs, chosen on these answers, and with what it changes there.

    Each view shows the cell otherwise than the training center's images do, so that runs differ, and their mean is less
    sure than each of them is: at the temperature of one run it doubts more than it errs. The threshold stays.

    Args:
        config: with the temperature of one run.
        logits: of varied runs on validation images, before any temperature, [R, N, classes].
        labels: int64 [N].
    """
    temperature = fit_temperature(logits, labels)
    before, after = (tempered(logits, each).mean(axis=0) for each in (config.temperature, temperature))
    right, accepted = after.argmax(axis=1) == labels, ~uncertain(after, config)
    facts = {
        "runs": len(logits),
        "accuracy": float(right.mean()),
        "before": _scores(before, labels),
        "after": _scores(after, labels),
        "accepted": float(accepted.mean()),
        "accuracy_of_accepted": float(right[accepted].mean()) if accepted.any() else None,
    }
    return replace(config, varied_temperature=temperature, calibration={**config.calibration, "varied": facts})


def calibrate(
    model: Classifier, cells: Cells, split: Split, *, seed: int = 0, varied: bool = True, quiet: bool = False
) -> None:
    """Choose a model's temperatures and thresholds on the validation part, as it is used: in its training colors.

    Args:
        model: trained on the split's training part; its config is replaced.
        cells: of its training center.
        split: of these cells.
        seed: of the fire masks of the first run.
        varied: also choose the temperature of varied runs, which takes `VARIED_RUNS` times as long.
        quiet: no progress bar.

    Raises:
        DataError: the validation part is empty.
    """
    part = split.validation
    if len(part) == 0:
        raise DataError(f"{cells.center}: no validation image to choose temperature and thresholds on")
    colors, labels = model.config.normalisation(), cells.labels[part]
    logits = np.stack(
        [
            predicted_logits(
                model, cells, part, colors, seed=(seed + run) % 2**32, view=run, doing="calibrating", quiet=quiet
            )
            for run in range(VARIED_RUNS if varied else 1)
        ]
    )  # [R, N, K]; the first of varied runs sees the cells as they are
    config = calibrated(model.config, logits[0], labels, seed=seed)
    model.config = calibrated_varied(config, logits, labels) if varied else config


def split_of(config: ModelConfig, cells: Cells) -> Split:
    """The split that a model was trained on, which follows from its config and the same images.

    Raises:
        DataError: these are other images, or read in another way.
        ModelError: the config does not say how its images were divided.
    """
    data, seed = config.data, config.recipe.get("seed")
    official = data.get("split") == "official"
    known = isinstance(seed, int) and (official or {"fold", "folds"} <= data.keys())
    if not known or "fingerprint" not in data:
        raise ModelError("the model does not say which images it was trained on; a model of `leukonca train` does")
    if data["fingerprint"] != cells.fingerprint:
        raise DataError(
            f"{cells.center}: not the images that the model was trained on ({data.get('center')}, "
            f"{data.get('training_images')} of them in its training part), or not read as then; give the same folder "
            "and options as in the training"
        )
    if bool(data.get("patients")) != bool(cells.patients):
        done = "by patients" if data.get("patients") else "not by patients"
        raise DataError(f"{cells.center}: the model's images were divided {done}; give --patients as in the training")
    assert isinstance(seed, int)
    if official:
        return split_for(cells, fold=0)
    return split_for(cells, fold=int(data["fold"]), folds=int(data["folds"]), seed=seed)


def _scores(probabilities: Floats, labels: NDArray[np.int64]) -> dict[str, float | None]:
    nll = float(log_losses(probabilities, labels).mean())
    ece = expected_calibration_error(probabilities, labels)
    return {"nll": nll if np.isfinite(nll) else None, "ece": ece}
