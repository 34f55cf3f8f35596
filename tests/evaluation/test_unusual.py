"""What is fitted to training features, against scikit-learn, and the threshold, against its definition."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

import leukonca
from leukonca.data.preprocessing import Preprocessing, centre_view
from leukonca.data.splits import split_cells
from leukonca.data.synthetic import synthetic_cells
from leukonca.data.varied import turn
from leukonca.errors import DataError, ModelError
from leukonca.evaluation import unusual
from leukonca.evaluation.run import evaluate_cells
from leukonca.evaluation.unusual import KEPT, cell_features, fit_unusual, kept_scores, learn_unusual, looks, threshold
from leukonca.models.building import build
from leukonca.models.folder import read_unusual
from leukonca.models.presets import ResNeXtArchitecture

RNG = np.random.default_rng(9)


def blobs(number: int = 120, channels: int = 7, classes: int = 3) -> np.ndarray:
    """Features around the means of some classes."""
    means = 3 * RNG.normal(size=(classes, channels))
    return (RNG.normal(size=(number, channels)) + means[np.arange(number) % classes]).astype(np.float32)


def test_bytes_are_enough_for_the_distance_to_the_fifth_neighbor() -> None:
    features, tested = blobs(), blobs(60)
    known = NearestNeighbors(n_neighbors=5).fit(normalize(features))
    expected = known.kneighbors(normalize(tested))[0][:, 4]
    np.testing.assert_allclose(fit_unusual(features).of(tested), expected, atol=0.02)


def test_channels_without_values_do_no_harm() -> None:
    features = blobs()
    more = np.concatenate([features, np.zeros((len(features), 2), np.float32)], axis=1)
    np.testing.assert_allclose(fit_unusual(more).of(more), fit_unusual(features).of(features), atol=1e-9)


def test_nothing_to_learn_from() -> None:
    with pytest.raises(DataError, match="4 images: too few to learn what is usual; needs 5"):
        fit_unusual(blobs(number=4))
    with pytest.raises(DataError, match="the same features"):
        fit_unusual(np.outer(RNG.uniform(1, 9, 30), RNG.normal(size=4)))  # directions differ by roundings
    with pytest.raises(ModelError, match="not finite"):
        fit_unusual(np.full((9, 4), np.nan))
    with pytest.raises(DataError, match="no validation image"):
        threshold(np.empty(0))


def test_of_many_scores_those_evenly_among_them_are_kept() -> None:
    scores = RNG.normal(size=10_001)
    kept = kept_scores(scores)
    assert len(kept) == KEPT
    np.testing.assert_allclose(kept, np.quantile(scores, np.linspace(0, 1, KEPT)), atol=0.02)
    np.testing.assert_array_equal(kept_scores(scores[:50]), np.sort(scores[:50]).astype(np.float32))


@settings(deadline=None)
@given(
    hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 10).map(lambda x: round(x, 1))),
    st.integers(1, 100),
)
def test_the_threshold_accepts_the_share_and_no_image_more_than_needed(scores: np.ndarray, accepted: int) -> None:
    limit = threshold(scores, accepted)
    assert 100 * (scores <= limit).sum() >= accepted * len(scores)
    assert 100 * (scores < limit).sum() < accepted * len(scores)


PREPROCESSING = Preprocessing(grid=16, margin=2, field_um=18.0)


@pytest.fixture
def model() -> leukonca.NCAClassifier:
    torch.manual_seed(1)
    model = leukonca.NCAClassifier("tiny", channels=6, hidden=8, steps=3, grid=16)
    torch.nn.init.normal_(model.update_weight, std=0.3)
    model.config = replace(
        model.config,
        preprocessing=PREPROCESSING,
        mean=(0.8, 0.7, 0.6),
        std=(0.1, 0.2, 0.3),
        thresholds={"uncertain": 0.5},
        calibration={"temperature": {"images": 3}},
    )
    return model.eval()


def test_an_automaton_learns_from_training_and_validation_cells_alone(
    model: leukonca.NCAClassifier, tmp_path: Path
) -> None:
    cells = synthetic_cells("synthetic_cream", 12, 0, PREPROCESSING, quiet=True)[0]
    split = split_cells(cells, fold=1, folds=3, validation_share=0.25)
    unknown = cells.images.copy()
    unknown[split.test] = 0
    learned = []
    for each in (cells, replace(cells, images=unknown)):
        learn_unusual(model, each, split, seed=4, quiet=True)
        assert model.unusual is not None
        learned.append((model.unusual.of(np.eye(6, dtype=np.float32)), model.config))
    np.testing.assert_array_equal(learned[0][0], learned[1][0])
    config = learned[0][1]
    assert config == learned[1][1]
    limit = config.thresholds["unusual"]
    facts = config.calibration["unusual"]
    assert facts["training_images"] == len(split.train)
    assert facts["validation_images"] == len(split.validation)
    assert model.unusual is not None
    assert (model.unusual.usual <= np.float32(limit)).mean() == facts["accepted"]
    assert facts["accepted"] == -(-len(split.validation) * 95 // 100) / len(split.validation)
    assert config.thresholds["uncertain"] == 0.5
    assert config.calibration["temperature"] == {"images": 3}
    # Without torch, other cells of the same kind are accepted about as often as the validation cells were.
    model.save(tmp_path)
    predictor, score = leukonca.Predictor(tmp_path), read_unusual(tmp_path)
    assert score is not None
    squares = centre_view(cells.images[split.test], PREPROCESSING)
    accepted = np.mean([(score.of(predictor.features(squares, seed=seed)) <= limit).mean() for seed in range(4)])
    assert 0.8 < accepted < 1
    # Inverted: other colors than any cell's. Noise alone gives this model features of a usual direction.
    assert (score.of(predictor.features(255 - squares)) > limit).all()


def test_large_classes_are_sampled(model: leukonca.NCAClassifier, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = synthetic_cells("synthetic_cream", 6, 0, PREPROCESSING, quiet=True)[0]
    split = split_cells(cells, fold=0, folds=3, validation_share=0.25)
    monkeypatch.setattr(unusual, "PER_CLASS", 2)
    learn_unusual(model, cells, split, quiet=True)
    assert model.config.calibration["unusual"]["training_images"] == 2 * len(leukonca.CLASSES)


def test_every_class_is_looked_at_as_often() -> None:
    labels = np.repeat([0, 2, 3], [150, 7, 40])
    indices = np.concatenate([np.arange(140), np.arange(150, 197)])
    chosen, ways = looks(indices, labels, np.random.default_rng(3))
    assert np.isin(chosen, indices).all()
    assert (np.diff(ways) >= 0).all()
    of_class = [[(cell, way) for cell, way in zip(chosen, ways, strict=True) if labels[cell] == k] for k in (0, 2, 3)]
    assert [len(each) for each in of_class] == [100, 100, 100]
    assert len(set(of_class[0])) == 100
    assert {way for _, way in of_class[0]} == {0}
    assert len(set(of_class[1])) == 56  # each of seven in all ways, some twice
    assert {way for _, way in of_class[1]} == set(range(8))
    assert len(set(of_class[2])) == 100
    assert {way for _, way in of_class[2]} == {0, 1, 2}


def test_a_look_is_at_the_cell_turned_and_mirrored(model: leukonca.NCAClassifier) -> None:
    cells = synthetic_cells("synthetic_cream", 1, 0, PREPROCESSING, quiet=True)[0]
    turned = replace(cells, images=np.ascontiguousarray(turn(cells.images, 6)))
    which = np.arange(len(cells))
    expected = cell_features(model, turned, which, np.random.default_rng(5), quiet=True)
    found = cell_features(model, cells, which, np.random.default_rng(5), np.full(len(which), 6), quiet=True)
    np.testing.assert_array_equal(found, expected)
    assert (found != cell_features(model, cells, which, np.random.default_rng(5), quiet=True)).any()


def test_three_cells_make_their_class_usual(model: leukonca.NCAClassifier, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every other class there are twelve; the classes lie far apart."""
    cells = synthetic_cells("synthetic_cream", 30, 0, PREPROCESSING, quiet=True)[0]
    split = split_cells(cells, fold=0, folds=2, validation_share=0.2)
    rare = leukonca.CLASSES.index("basophil")
    left_out = np.flatnonzero(cells.labels[split.train] == rare)[3:]
    seen = 20 * np.eye(len(leukonca.CLASSES))[cells.labels] + RNG.normal(size=(len(cells), len(leukonca.CLASSES)))
    monkeypatch.setattr(unusual, "cell_features", lambda _, __, which, *___, **____: seen[which])
    learn_unusual(model, cells, replace(split, train=np.delete(split.train, left_out)), quiet=True)
    assert model.unusual is not None
    scores, limit = model.unusual.of(seen[split.test]), model.config.thresholds["unusual"]
    mine = cells.labels[split.test] == rare
    assert (scores[mine] <= 1.5 * limit).all()  # other classes are five limits away
    assert (scores[~mine] <= limit).mean() > 0.9


def test_a_model_without_pooled_channels_stays_as_it_is() -> None:
    cells = synthetic_cells("synthetic_cream", 3, 0, PREPROCESSING, quiet=True)[0]
    other = build(ResNeXtArchitecture(grid=16, blocks=(1, 1, 1, 1), groups=2, group_width=2))
    before = other.config
    learn_unusual(other, cells, split_cells(cells, fold=0, folds=3, validation_share=0.3), quiet=True)
    assert other.unusual is None
    assert other.config == before


def test_too_little_to_learn_from_leaves_a_model_without(model: leukonca.NCAClassifier) -> None:
    cells = synthetic_cells("synthetic_cream", 3, 0, PREPROCESSING, quiet=True)[0]
    split = split_cells(cells, fold=0, folds=3, validation_share=0.5)
    split = replace(split, train=split.train[:5])
    model.config = replace(model.config, thresholds={"unusual": 3.0})
    learn_unusual(model, cells, split, quiet=True)
    assert model.unusual is None
    assert "unusual" not in model.config.thresholds


def test_the_facts_of_a_test_are_those_of_the_features(model: leukonca.NCAClassifier) -> None:
    home = synthetic_cells("synthetic_cream", 9, 0, PREPROCESSING, quiet=True)[0]
    learn_unusual(model, home, split_cells(home, fold=0, folds=3, validation_share=0.25), quiet=True)
    model.config = replace(model.config, data={"center": home.center, "fingerprint": home.fingerprint})
    assert model.unusual is not None
    abroad = synthetic_cells("synthetic_yellow", 2, 0, PREPROCESSING, quiet=True)[0]
    found = [evaluate_cells(model, cells, np.arange(26), seed=3, quiet=True) for cells in (home, abroad)]
    for cells, each in zip((home, abroad), found, strict=True):
        views = torch.from_numpy(cells.images[:26, 2:18, 2:18].copy()).permute(0, 3, 1, 2) / 255
        mean, std = (torch.tensor(color)[:, None, None] for color in model.config.normalisation())
        with torch.no_grad():
            scores = model.unusual.of(model.features((views - mean) / std, seed=3).numpy())
        facts, flagged = each.metrics["unusual"], scores > model.config.thresholds["unusual"]
        assert facts["flagged"]["value"] == flagged.mean()
        for name, share in facts["classes"].items():
            assert share["value"] == flagged[each.labels == leukonca.CLASSES.index(name)].mean()
        assert ("auroc" in facts) == (cells is abroad)
    usual = model.unusual.usual
    truth = np.repeat([0, 1], [len(usual), len(scores)])
    expected = roc_auc_score(truth, np.concatenate([usual, scores]))
    assert facts["auroc"]["value"] == pytest.approx(expected)
