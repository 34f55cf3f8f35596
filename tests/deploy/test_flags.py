"""What a predictor says beside its label: uncertainty and flags."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from sklearn.preprocessing import normalize

import leukonca
from leukonca.deploy.predictor import Answers
from leukonca.models.unusual import UnusualScore

from .pictures import IMAGES, Save


def told(rows: np.ndarray) -> Answers:
    """Of one run."""
    scores, changed = np.full(len(rows), np.nan, np.float32), np.zeros(len(rows), np.bool_)
    return Answers(rows, scipy.stats.entropy(rows.astype(float), axis=1), scores, changed)


def test_uncertainty_falls_apart_into_the_runs_own_and_what_they_disagree_about(save_model: Save) -> None:
    predictor = leukonca.Predictor(save_model())
    runs = [predictor(IMAGES, seed=seed) for seed in (3, 4, 5)]
    together = predictor(IMAGES, seed=3, runs=3)
    for run in runs:
        assert (run.mutual_information == 0).all()
        np.testing.assert_array_equal(run.expected_entropy, run.uncertainty)
    own = np.mean([scipy.stats.entropy(run.probabilities, base=13, axis=1) for run in runs], axis=0)
    np.testing.assert_allclose(together.expected_entropy, own, atol=1e-6)
    np.testing.assert_allclose(together.uncertainty, together.expected_entropy + together.mutual_information, atol=1e-6)
    assert together.mutual_information.min() > 0


def test_a_deterministic_run_flags_nothing_unusual(save_model: Save) -> None:
    folder = save_model()
    model = leukonca.load(folder)
    model.unusual = odd_score()
    model.config = replace(model.config, thresholds={"unusual": 0.0})  # every cell is above
    model.save(folder)
    assert leukonca.Predictor(folder)(IMAGES).flags == ("unusual",) * len(IMAGES)
    found = leukonca.Predictor(folder, deterministic=True)(IMAGES)
    assert "unusual" not in found.flags
    assert np.isnan(found.unusual).all()
    assert "unusual" not in model.deterministic().config.thresholds


def test_uncertainty_and_flags(save_model: Save) -> None:
    predictor = leukonca.Predictor(save_model())
    rows = np.random.default_rng(1).dirichlet(np.full(13, 0.2), size=200).astype(np.float32)
    rows[0] = np.eye(13)[4]
    rows[1] = 1 / 13
    rows[2, :3], rows[2, 3:] = (0.5, 0.25, 0.25), 0
    result = predictor.judge(told(rows))
    expected = scipy.stats.entropy(rows.astype(float), base=13, axis=1)
    np.testing.assert_allclose(result.uncertainty, expected, atol=1e-6)
    assert result.uncertainty[0] == 0
    assert result.uncertainty[1] == pytest.approx(1)
    assert result.flags == tuple("uncertain" if max(row) < 0.5 else "" for row in rows.tolist())
    assert result.flags[:3] == ("", "uncertain", "")


def test_a_models_own_threshold_decides_what_is_uncertain(save_model: Save) -> None:
    rows = np.random.default_rng(2).dirichlet(np.full(13, 0.1), size=200).astype(np.float32)
    predictor = leukonca.Predictor(save_model(thresholds={"uncertain": 0.8}))
    flags = predictor.judge(told(rows)).flags
    assert flags == tuple("uncertain" if max(row) < 0.8 else "" for row in rows.tolist())
    assert set(flags) == {"", "uncertain"}


def odd_score(channels: int = 16) -> UnusualScore:
    """Of the tiny model: how far from the direction in which all channels are the same."""
    return UnusualScore(
        cells=np.ones((5, channels), np.int8),
        unit=np.full(channels, channels**-0.5, np.float32),
        usual=np.zeros(1, np.float32),
    )


def test_what_is_unlike_the_training_cells_is_flagged_and_before_uncertain(save_model: Save) -> None:
    folder = save_model(thresholds={"uncertain": 1.0})
    model = leukonca.load(folder)
    model.unusual = odd_score()
    model.save(folder)
    result = leukonca.Predictor(folder)(IMAGES, runs=3, seed=2)
    predictor = leukonca.Predictor(folder)
    squares = np.stack([predictor.prepare(image) for image in IMAGES])
    seen = [normalize(predictor.features(squares, seed=seed)) for seed in (2, 3, 4)]
    expected = np.mean([np.linalg.norm(rows - rows.shape[1] ** -0.5, axis=1) for rows in seen], axis=0)
    np.testing.assert_allclose(result.unusual, expected, rtol=1e-5)
    assert set(result.flags) == {"uncertain"}  # without a threshold nothing is unusual
    limit = float(np.sort(result.unusual)[2])
    model.config = replace(model.config, thresholds={"uncertain": 1.0, "unusual": limit})
    model.save(folder)
    again = leukonca.Predictor(folder)(IMAGES, runs=3, seed=2)
    assert again.flags == tuple("unusual" if value > limit else "uncertain" for value in result.unusual.tolist())
    assert again.flags.count("unusual") == len(IMAGES) - 3


@pytest.mark.parametrize("threshold", [{}, {"unusual": 1.0}])
def test_an_answer_that_was_never_taught_is_unusual_of_a_model_that_can_tell(
    save_model: Save, threshold: dict[str, float]
) -> None:
    """Four answers, each of another class, of scores below the threshold; the last run's score was not computed."""
    predictor = leukonca.Predictor(save_model(thresholds=threshold, trained_classes=leukonca.CLASSES[:2]))
    rows = np.full((5, 13), 0.01, np.float32)
    rows[np.arange(5), [0, 1, 2, 12, 12]] = 0.88
    answers = Answers(rows, np.zeros(5), np.array([0, 0, 0, 0, np.nan], np.float32), np.zeros(5, np.bool_))
    odd = "unusual" if threshold else "uncertain"
    assert predictor.judge(answers).flags == ("", "", odd, odd, "uncertain")


def test_a_model_that_holds_no_score_says_so_by_nan(save_model: Save) -> None:
    result = leukonca.Predictor(save_model(thresholds={"unusual": 0.0}))(IMAGES[:2])
    assert np.isnan(result.unusual).all()
    assert "unusual" not in result.flags
