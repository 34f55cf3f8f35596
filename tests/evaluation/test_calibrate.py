"""Temperature against torch's own loss and the condition of its minimum; thresholds against trying all of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from leukonca import NCAClassifier
from leukonca.data.cells import Cells
from leukonca.data.splits import Split, split_cells
from leukonca.data.synthetic import synthetic_cells
from leukonca.errors import DataError, ModelError
from leukonca.evaluation.calibrate import (
    FEWEST,
    HOTTEST,
    VARIED_RUNS,
    WANTED,
    calibrate,
    calibrated,
    calibrated_varied,
    choose_threshold,
    fit_temperature,
    split_of,
)
from leukonca.evaluation.calibration import tempered
from leukonca.evaluation.flags import UNCERTAIN_BELOW, confidence, threshold_of, uncertain
from leukonca.evaluation.run import predicted_logits
from leukonca.models.config import ModelConfig
from leukonca.models.presets import preset

from .test_run import PREPROCESSING

QUICK = settings(max_examples=40, deadline=None)


def answers(seed: int, images: int = 200, classes: int = 5, heat: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels that agree: each label is drawn by the softmax of its logits; then the logits are heated."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, (images, classes))
    odds = np.exp(logits)
    drawn = (odds / odds.sum(axis=1, keepdims=True)).cumsum(axis=1) > generator.random((images, 1))
    return (heat * logits).astype(np.float32), drawn.argmax(axis=1).astype(np.int64)


def loss(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    scaled = torch.from_numpy(logits).double() / temperature
    return float(functional.cross_entropy(scaled, torch.from_numpy(labels)))


@QUICK
@given(st.integers(0, 2**32), st.floats(0.3, 4))
def test_no_other_temperature_has_a_lower_loss(seed: int, heat: float) -> None:
    logits, labels = answers(seed, heat=heat)
    found = fit_temperature(logits, labels)
    least = loss(logits, labels, found)
    assert all(least <= loss(logits, labels, other) + 1e-9 for other in np.geomspace(1 / HOTTEST, HOTTEST, 60))
    # At the minimum the true class's logit is on average what the probabilities expect of it.
    p = torch.softmax(torch.from_numpy(logits).double() / found, dim=1).numpy()
    expected = (p * logits).sum(axis=1).mean()
    assert logits[np.arange(len(labels)), labels].mean() == pytest.approx(expected, abs=1e-3 * heat)


def test_the_heat_that_was_put_in_is_found() -> None:
    for heat in (0.5, 1.0, 3.0):
        assert fit_temperature(*answers(1, images=20_000, heat=heat)) == pytest.approx(heat, rel=0.05)


@QUICK
@given(st.integers(0, 2**32), st.floats(0.3, 4))
def test_several_runs_are_judged_by_the_mean_of_their_probabilities(seed: int, heat: float) -> None:
    logits, labels = answers(seed, heat=heat)
    runs = logits + np.random.default_rng(seed).normal(0, heat, (4, *logits.shape))
    found = fit_temperature(runs, labels)

    def of_mean(temperature: float) -> float:
        p = torch.softmax(torch.from_numpy(runs) / temperature, dim=2).mean(dim=0)
        return float(functional.nll_loss(p.log(), torch.from_numpy(labels)))

    assert all(of_mean(found) <= of_mean(other) + 1e-9 for other in np.geomspace(1 / HOTTEST, HOTTEST, 60))
    assert fit_temperature(np.stack([logits] * 3), labels) == pytest.approx(fit_temperature(logits, labels), rel=1e-4)


def test_where_no_temperature_is_best() -> None:
    sure = np.eye(4, dtype=np.float32)[np.arange(20) % 4]
    assert fit_temperature(sure, np.arange(20) % 4) == pytest.approx(1 / HOTTEST, rel=1e-3)
    with np.errstate(divide="ignore"):
        never = np.log(np.array([[1.0, 0.0], [0.6, 0.4]]))
    assert fit_temperature(never, np.array([1, 0])) == 1  # a class of probability 0 was true
    assert fit_temperature(never, np.array([0, 0])) < 1
    assert (
        fit_temperature(np.stack([never, np.log([[0.9, 0.1], [0.6, 0.4]])]), np.array([1, 0])) != 1
    )  # one run knew it
    with pytest.raises(DataError, match="no validation image"):
        fit_temperature(np.zeros((0, 3)), np.zeros(0, np.int64))


def test_tempered_is_torchs_softmax() -> None:
    logits, _ = answers(3, heat=40)
    expected = torch.softmax(torch.from_numpy(logits).double() / 1.7, dim=1).numpy()
    np.testing.assert_allclose(tempered(logits, 1.7), expected, rtol=1e-12)


@QUICK
@given(st.integers(0, 2**32), st.integers(0, 80), st.floats(0.3, 1), st.integers(2, 50))
def test_no_other_threshold_accepts_more_that_is_right_so_often(
    seed: int, images: int, skill: float, levels: int
) -> None:
    generator = np.random.default_rng(seed)
    sure = generator.integers(1, levels, images) / levels
    right = generator.random(images) < skill * sure ** (1 / 4)
    found = choose_threshold(sure, right)
    reached = [(right[sure >= t].mean(), (sure >= t).sum()) for t in sure if (sure >= t).sum() >= FEWEST]
    if found is None:
        assert images < FEWEST
        return
    accepted = sure >= found
    enough = [number for share, number in reached if share >= WANTED]
    if enough:
        assert right[accepted].mean() >= WANTED
        assert accepted.sum() == max(enough)
    else:
        best = max(share for share, _ in reached)
        assert right[accepted].mean() == best
        assert accepted.sum() == max(number for share, number in reached if share == best)
    assert min(abs(sure - found), default=1) > 1e-9  # no cell lies on it


def test_confidence_in_a_class_never_trained_is_none() -> None:
    config = ModelConfig(preset("tiny"), classes=("a", "b", "c"), trained_classes=("a", "b"))
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7], [0.4, 0.3, 0.3]])
    assert confidence(p, config).tolist() == [0.7, 0, 0.4]
    assert threshold_of(config) == UNCERTAIN_BELOW == 0.5
    assert uncertain(p, config).tolist() == [False, True, True]
    accepts_all = replace(config, thresholds={"uncertain": 0.0})
    assert uncertain(p, accepts_all).tolist() == [False, True, False]
    assert uncertain(p, replace(config, trained_classes=())).tolist() == [False, False, True]


def test_what_the_config_says_is_what_its_rule_reaches() -> None:
    logits, labels = answers(5, images=2000, classes=3, heat=2.5)
    config = ModelConfig(preset("tiny"), classes=("a", "b", "c"), trained_classes=("a", "b"), thresholds={"unusual": 3})
    found = calibrated(config, logits, labels, seed=4)
    p = torch.softmax(torch.from_numpy(logits).double() / found.temperature, dim=1).numpy()
    accepted, right = ~uncertain(p, found), p.argmax(axis=1) == labels
    assert 0.1 < accepted.mean() < 0.9
    assert found.thresholds.keys() == {"uncertain", "unusual"}  # a threshold of another kind stays
    facts = found.calibration
    assert facts["uncertain"]["accepted"] == accepted.mean()
    assert facts["uncertain"]["accuracy_of_accepted"] == right[accepted].mean() >= WANTED
    assert facts["accuracy"] == right.mean()
    assert facts["before"]["nll"] == pytest.approx(loss(logits, labels, 1))
    assert facts["after"]["nll"] == pytest.approx(loss(logits, labels, found.temperature))
    assert facts["after"]["nll"] < facts["before"]["nll"]
    assert (facts["images"], facts["seed"], facts["part"]) == (2000, 4, "validation")


def test_varied_runs_have_a_temperature_of_their_own() -> None:
    logits, labels = answers(5, images=2000, classes=3)
    runs = logits + np.random.default_rng(5).normal(0, 2, (6, *logits.shape))
    single = calibrated(ModelConfig(preset("tiny"), classes=("a", "b", "c")), runs[0], labels)
    assert single.varied_temperature is None
    assert single.temperature_of(varied=True) == single.temperature
    found = calibrated_varied(single, runs, labels)
    assert found.temperature_of(varied=False) == found.temperature == single.temperature
    assert found.temperature_of(varied=True) == found.varied_temperature == fit_temperature(runs, labels)
    assert found.varied_temperature < 0.8 * found.temperature  # the mean of runs that disagree is less sure
    facts = found.calibration.pop("varied")
    assert found.calibration == single.calibration
    assert facts["after"]["nll"] < facts["before"]["nll"] - 0.01
    assert facts["after"]["ece"] < 0.5 * facts["before"]["ece"]
    right = tempered(runs, found.varied_temperature).mean(axis=0).argmax(axis=1) == labels
    assert (facts["runs"], facts["accuracy"]) == (6, right.mean())
    accepted = ~uncertain(tempered(runs, found.varied_temperature).mean(axis=0), found)
    assert (facts["accepted"], facts["accuracy_of_accepted"]) == (accepted.mean(), right[accepted].mean())


def test_too_few_images_leave_no_threshold() -> None:
    config = ModelConfig(preset("tiny"), classes=("a", "b", "c"), thresholds={"uncertain": 0.9})
    found = calibrated(config, *answers(1, images=FEWEST - 1, classes=3))
    assert (found.thresholds, "uncertain" in found.calibration) == ({}, False)


@pytest.fixture(scope="module")
def cells() -> Cells:
    return synthetic_cells("synthetic_cream", 3, 0, PREPROCESSING, quiet=True)[0]


@pytest.fixture
def model() -> NCAClassifier:
    torch.manual_seed(1)
    model = NCAClassifier("tiny", channels=6, hidden=8, steps=3, grid=16)
    torch.nn.init.normal_(model.update_weight, std=0.3)
    colors = {"mean": (0.8, 0.7, 0.6), "std": (0.1, 0.2, 0.3)}
    model.config = replace(model.config, preprocessing=PREPROCESSING, temperature=9.0, **colors)
    return model.eval()


def test_only_the_validation_part_is_looked_at(model: NCAClassifier, cells: Cells) -> None:
    parts = np.array_split(np.random.default_rng(0).permutation(len(cells)), 3)
    split = Split(*parts, fold=0, folds=5, seed=0)
    images, labels = cells.images.copy(), cells.labels.copy()
    rest = np.concatenate([split.train, split.test])
    images[rest], labels[rest] = 0, 0
    calibrate(model, cells, split, seed=2, quiet=True)
    found = model.config
    calibrate(model, replace(cells, images=images, labels=labels), split, seed=2, quiet=True)
    assert model.config == found
    views = (cells.images[split.validation][:, 2:18, 2:18] / 255.0 - [0.8, 0.7, 0.6]) / [0.1, 0.2, 0.3]
    with torch.no_grad():
        logits = model(torch.from_numpy(views.transpose(0, 3, 1, 2)).float(), seed=2).numpy()
    # The temperature that the model had is of no account, and its logits are those of one run.
    assert found.temperature == pytest.approx(fit_temperature(logits, cells.labels[split.validation]), rel=1e-4)
    several = [
        predicted_logits(model, cells, split.validation, found.normalisation(), seed=2 + run, view=run, quiet=True)
        for run in range(VARIED_RUNS)
    ]
    several_fit = fit_temperature(np.stack(several), cells.labels[split.validation])
    assert found.varied_temperature == pytest.approx(several_fit, rel=1e-4) != found.temperature
    calibrate(model, cells, split, seed=2, varied=False, quiet=True)
    assert model.config.varied_temperature is None  # that of other weights may not stay
    assert model.config.temperature == found.temperature
    calibrate(model, cells, split, seed=3, quiet=True)
    assert model.config.temperature != found.temperature
    with pytest.raises(DataError, match="no validation image"):
        calibrate(model, cells, replace(split, validation=np.zeros(0, np.int64)), quiet=True)


def test_the_split_is_that_of_the_training(cells: Cells) -> None:
    many = synthetic_cells("synthetic_cream", 6, 0, PREPROCESSING, quiet=True)[0]
    split = split_cells(many, fold=2, folds=4, seed=7)
    data = {"center": many.center, "fingerprint": many.fingerprint, "fold": 2, "folds": 4}
    config = ModelConfig(preset("tiny"), data=data, recipe={"seed": 7})
    found = split_of(config, many)
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(found, part), getattr(split, part))
    with pytest.raises(DataError, match="not the images"):
        split_of(config, cells)
    fold_alone = {"fingerprint": many.fingerprint, "fold": 2}
    for lost in (replace(config, recipe={}), replace(config, data={}), replace(config, data=fold_alone)):
        with pytest.raises(ModelError, match="does not say"):
            split_of(lost, many)
