"""Testing a model against the same steps written out in NumPy."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from leukonca import NCAClassifier
from leukonca.data.preprocessing import Preprocessing
from leukonca.data.synthetic import synthetic_cells
from leukonca.errors import DataError, ModelError, UsageError
from leukonca.evaluation.flags import uncertain
from leukonca.evaluation.prior import Prior
from leukonca.evaluation.run import evaluate_cells
from leukonca.evaluation.unusual import fit_unusual
from leukonca.models.resnext import ResNeXt

PREPROCESSING = Preprocessing(grid=16, margin=2, field_um=18.0)


@pytest.fixture(scope="module")
def model() -> NCAClassifier:
    torch.manual_seed(1)
    model = NCAClassifier("tiny", channels=6, hidden=8, steps=3, grid=16)
    torch.nn.init.normal_(model.update_weight, std=0.3)
    model.config = replace(
        model.config,
        preprocessing=PREPROCESSING,
        mean=(0.8, 0.7, 0.6),
        std=(0.1, 0.2, 0.3),
        temperature=2.0,
        trained_classes=("basophil", "monocyte"),
    )
    return model.eval()


@pytest.fixture(scope="module")
def cells():  # type: ignore[no-untyped-def]
    return synthetic_cells("synthetic_cream", 2, 0, PREPROCESSING, quiet=True)[0]


def by_hand(model: NCAClassifier, squares: np.ndarray, mean: np.ndarray, std: np.ndarray, seed: int) -> np.ndarray:
    views = (squares[:, 2:18, 2:18] / 255.0 - mean) / std
    with torch.no_grad():
        logits = model(torch.from_numpy(views.transpose(0, 3, 1, 2)).float(), seed=seed).double().numpy() / 2.0
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_training_colors_by_default(model: NCAClassifier, cells) -> None:  # type: ignore[no-untyped-def]
    indices = np.array([0, 3, 7, 25])
    result = evaluate_cells(model, cells, indices, seed=4, quiet=True)
    expected = by_hand(model, cells.images[indices], np.array([0.8, 0.7, 0.6]), np.array([0.1, 0.2, 0.3]), 4)
    np.testing.assert_allclose(result.probabilities, expected, atol=1e-5)
    assert result.labels.tolist() == cells.labels[indices].tolist()
    assert np.array_equal(result.squares, cells.images[indices][:, 2:18, 2:18])
    assert result.metrics["accuracy"]["value"] == (expected.argmax(axis=1) == result.labels).mean()
    assert "training center's colors" in result.note


def test_target_colors_are_those_of_the_tested_images(model: NCAClassifier, cells) -> None:  # type: ignore[no-untyped-def]
    indices = np.arange(13)
    result = evaluate_cells(model, cells, indices, normalisation="target", quiet=True)
    seen = cells.images[indices][:, 2:18, 2:18].reshape(-1, 3) / 255.0
    expected = by_hand(model, cells.images[indices], seen.mean(axis=0), seen.std(axis=0), 0)
    np.testing.assert_allclose(result.probabilities, expected, atol=1e-5)
    assert "own colors" in result.note


def seen_by_hand(square: np.ndarray, run: int) -> np.ndarray:
    """The middle 16 of 20 pixels at size 1, 0.85 or 1.18, turned and from run 4 on mirrored."""
    shown = 16 / (1, 0.85, 1.18)[run % 3]
    box = (10 - shown / 2, 10 - shown / 2, 10 + shown / 2, 10 + shown / 2)
    seen = np.asarray(Image.fromarray(square).resize((16, 16), Image.Resampling.BILINEAR, box=box))
    return np.rot90(seen[:, ::-1] if run >= 4 else seen, run)


def test_several_runs_are_averaged_each_of_another_view_if_so_asked(model: NCAClassifier, cells) -> None:  # type: ignore[no-untyped-def]
    indices, colors = np.arange(0, 12), model.config.normalisation()
    for wanted in (False, True):
        result = evaluate_cells(model, cells, indices, runs=6, varied=wanted, seed=3, quiet=True)
        expected = []
        for run in range(6):
            squares = cells.images[indices].copy()
            if wanted:
                squares[:, 2:18, 2:18] = [seen_by_hand(square, run) for square in squares]
            expected.append(by_hand(model, squares, *map(np.array, colors), 3 + run))
        np.testing.assert_allclose(result.probabilities, np.mean(expected, axis=0), atol=1e-5)
        assert result.note.endswith(
            f"mean of 6 runs{', each of the cell turned, mirrored or sized otherwise' if wanted else ''}"
        )


def test_varied_runs_have_a_temperature_of_their_own(model: NCAClassifier, cells) -> None:  # type: ignore[no-untyped-def]
    both, one = (NCAClassifier.from_weights(model.config, model.weights()) for _ in range(2))
    both.config = replace(model.config, varied_temperature=0.7)
    for varied, temperature in ((False, 2.0), (True, 0.7)):
        one.config = replace(model.config, temperature=temperature)
        found, expected = (
            evaluate_cells(each, cells, np.arange(8), runs=2, varied=varied, quiet=True) for each in (both, one)
        )
        np.testing.assert_array_equal(found.outputs, expected.outputs)
        assert found.metrics["certainty"] == expected.metrics["certainty"]
        assert found.metrics["certainty"]["temperature"] == temperature


def test_a_prior_weighs_the_mean_of_the_runs_and_flags_what_it_changes(model: NCAClassifier, cells) -> None:  # type: ignore[no-untyped-def]
    indices = np.arange(len(cells))
    plain = evaluate_cells(model, cells, indices, runs=2, quiet=True)
    shares = 1 / plain.outputs.mean(axis=0) ** 0.9  # so that answers differ, of weights that were drawn at random
    prior = Prior("own", shares / shares.sum(), model.config.classes)
    found = evaluate_cells(model, cells, indices, runs=2, prior=prior, quiet=True)
    np.testing.assert_allclose(found.outputs, prior.weigh(plain.outputs)[0], atol=1e-6)
    before, after = (each.outputs.argmax(axis=1) for each in (plain, found))
    assert 0 < (before != after).sum() < len(indices)
    assert found.metrics["prior"]["changed"] == (before != after).mean()
    flagged = uncertain(found.outputs, model.config) | (before != after)
    assert found.metrics["certainty"]["flagged"]["value"] == flagged.mean()
    assert "prior" not in plain.metrics
    # Where kinds are scored together, a change within them changes no scored answer.
    kinds = np.array(model.config.classes)
    often = np.bincount(after).argmax()
    coarse = replace(
        cells, comprises={"rest": tuple(np.delete(kinds, often)), "one": (kinds[often],)}, labels=cells.labels * 0
    )
    scored = evaluate_cells(model, coarse, indices, runs=2, prior=prior, quiet=True)
    one = [each.outputs[:, often] > 0.5 for each in (plain, scored)]
    assert scored.metrics["prior"]["changed"] == (one[0] != one[1]).mean() < (before != after).mean()


def test_the_score_of_unusual_cells_is_averaged_over_the_runs(model: NCAClassifier, cells) -> None:  # type: ignore[no-untyped-def]
    indices = np.arange(8)
    fitted = NCAClassifier.from_weights(model.config, model.weights())
    features = np.random.default_rng(0).normal(size=(60, 6))
    fitted.unusual = fit_unusual(features)
    with torch.no_grad():
        images = torch.from_numpy(cells.images[indices][:, 2:18, 2:18] / 255.0).float().permute(0, 3, 1, 2)
        images = (images - torch.tensor(model.config.mean)[:, None, None]) / torch.tensor(model.config.std)[
            :, None, None
        ]
        scores = [fitted.unusual.of(fitted.features(images, seed=run).numpy()) for run in range(3)]
    limit = float(np.median(np.mean(scores, axis=0)))
    fitted.config = replace(fitted.config, thresholds={"unusual": limit}, trained_classes=())
    result = evaluate_cells(fitted, cells, indices, runs=3, quiet=True)
    odd = np.mean(scores, axis=0) > limit
    assert result.metrics["unusual"]["flagged"]["value"] == odd.mean()
    doubtful = ~odd & (result.outputs.max(axis=1) < 0.5)
    right = result.probabilities.argmax(axis=1) == result.labels
    for flag, which in (("unusual", odd), ("uncertain", doubtful), ("none", ~odd & ~doubtful)):
        answers = result.metrics["unusual"]["answers"][flag]
        assert answers["share"]["value"] == which.mean()
        assert answers["accuracy"]["value"] == (right[which].mean() if which.any() else None)


def test_runs_without_chance_must_be_varied(cells) -> None:  # type: ignore[no-untyped-def]
    network = ResNeXt()
    with pytest.raises(UsageError, match="all runs would be the same"):
        evaluate_cells(network, cells, np.arange(3), runs=2, quiet=True)


def test_what_cannot_be_tested(model: NCAClassifier, cells) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match="no image is left"):
        evaluate_cells(model, cells, np.array([], dtype=np.int64), quiet=True)
    other = synthetic_cells("synthetic_cream", 1, 0, Preprocessing(grid=8), quiet=True)[0]
    with pytest.raises(UsageError, match="loaded for"):
        evaluate_cells(model, other, np.arange(3), quiet=True)
    with pytest.raises(ModelError, match="color statistics"):
        evaluate_cells(NCAClassifier("tiny", grid=8), other, np.arange(3), quiet=True)
