import json
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as oracle

from leukonca.errors import DataError, UsageError
from leukonca.evaluation.metrics import DEFINITIONS, metrics_with_intervals

SCORES = ("accuracy", "balanced_accuracy", "macro_f1", "mcc", "macro_auroc", "brier", "ece")


def names(count):
    return [f"class {k}" for k in range(count)]


@st.composite
def predictions(draw, most_images=60):
    """Probabilities with ties, labels that skip classes, predictions into classes that no image has."""
    classes = draw(st.integers(2, 6))
    images = draw(st.integers(1, most_images))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    present = draw(st.sets(st.integers(0, classes - 1), min_size=1))
    labels = generator.choice(sorted(present), images)
    scores = generator.integers(1, draw(st.sampled_from([3, 6, 1000])), size=(images, classes)).astype(float)
    scores[np.arange(images), labels] *= draw(st.sampled_from([1, 3]))
    return scores / scores.sum(axis=1, keepdims=True), labels


def slow_scores(probabilities, labels):
    """Every score by scikit-learn, or by its formula, NaN where undefined."""
    classes, predicted = probabilities.shape[1], probabilities.argmax(axis=1)
    present = sorted(set(labels.tolist()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        precision, recall, f1, _ = oracle.precision_recall_fscore_support(
            labels, predicted, labels=range(classes), zero_division=np.nan
        )
        values = {
            "accuracy": oracle.accuracy_score(labels, predicted),
            "balanced_accuracy": oracle.balanced_accuracy_score(labels, predicted),
            "macro_f1": oracle.f1_score(labels, predicted, labels=present, average="macro", zero_division=0),
            "mcc": oracle.matthews_corrcoef(labels, predicted),
            "brier": oracle.brier_score_loss(labels, probabilities, labels=range(classes), scale_by_half=False),
            "ece": slow_ece(probabilities, labels),
        }
    auroc = np.full(classes, np.nan)
    if len(present) > 1:
        for k in present:
            auroc[k] = oracle.roc_auc_score(labels == k, probabilities[:, k])
    values["macro_auroc"] = auroc[present].mean()
    absent = ~np.isin(range(classes), present)
    per_class = {"precision": precision, "recall": recall, "f1": f1, "auroc": auroc}
    return values, {name: np.where(absent, np.nan, column) for name, column in per_class.items()}


def slow_ece(probabilities, labels):
    total = 0.0
    for b in range(15):
        inside = [
            (row.max(), row.argmax() == label)
            for row, label in zip(probabilities, labels, strict=True)
            if b / 15 < row.max() <= (b + 1) / 15
        ]
        if inside:
            confidence, right = np.mean(inside, axis=0)
            total += len(inside) / len(labels) * abs(confidence - right)
    return total


def as_number(score, end="value"):
    return math.nan if score[end] is None else score[end]


@settings(max_examples=40, deadline=None)
@given(predictions())
def test_every_score_is_that_of_scikit_learn(drawn):
    probabilities, labels = drawn
    classes = names(probabilities.shape[1])
    found = metrics_with_intervals(probabilities, labels, classes=classes, draws=3)
    overall, per_class = slow_scores(probabilities, labels)
    for name in SCORES:
        assert as_number(found[name]) == pytest.approx(overall[name], abs=1e-12, nan_ok=True), name
    for k, name in enumerate(classes):
        entry = found["classes"][name]
        assert entry["support"] == int((labels == k).sum())
        assert entry["predicted"] == int((probabilities.argmax(axis=1) == k).sum())
        for score, column in per_class.items():
            assert as_number(entry[score]) == pytest.approx(column[k], abs=1e-12, nan_ok=True), score
    confusion = oracle.confusion_matrix(labels, probabilities.argmax(axis=1), labels=range(len(classes)))
    assert found["confusion"] == confusion.tolist()


@settings(max_examples=40, deadline=None)
@given(predictions(most_images=12), st.integers(0, 2**32 - 1))
def test_result_is_strict_json_and_bounded(drawn, seed):
    probabilities, labels = drawn
    classes = names(probabilities.shape[1])
    found = metrics_with_intervals(probabilities, labels, classes=classes, draws=20, seed=seed)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    for name in SCORES:
        low, high = as_number(found[name], "low"), as_number(found[name], "high")
        assert math.isnan(low) or low <= high
        assert math.isnan(low) or (-1 if name == "mcc" else 0) <= low
        assert math.isnan(high) or high <= (2 if name == "brier" else 1)
        assert name in DEFINITIONS


def test_intervals_are_the_quantiles_of_rescored_resamples():
    generator = np.random.default_rng(5)
    labels = np.repeat([0, 1, 2], [30, 12, 2])  # class 2 is missing from some draws
    scores = generator.integers(1, 9, size=(44, 4)).astype(float)
    scores[np.arange(44), labels] += 4
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    found = metrics_with_intervals(probabilities, labels, classes=names(4), draws=40, seed=7)

    drawn = np.random.default_rng(7).integers(0, 44, size=(40, 44))
    resampled = [slow_scores(probabilities[rows], labels[rows]) for rows in drawn]
    for name in set(SCORES) - {"accuracy"}:
        low, high = np.nanquantile([overall[name] for overall, _ in resampled], [0.025, 0.975])
        assert found[name]["low"] == pytest.approx(low, abs=1e-12), name
        assert found[name]["high"] == pytest.approx(high, abs=1e-12), name
    for k in range(3):
        for name in ("f1", "auroc"):
            column = [per_class[name][k] for _, per_class in resampled]
            low, high = np.nanquantile(column, [0.025, 0.975])
            entry = found["classes"][f"class {k}"][name]
            assert (entry["low"], entry["high"]) == pytest.approx((low, high), abs=1e-12), name


def test_shares_of_images_have_the_interval_of_wilson():
    labels = np.repeat([0, 1, 2], [40, 20, 5])
    predicted = np.concatenate([np.zeros(40, int), [1] * 15, [2] * 5, [3] * 5])
    found = metrics_with_intervals(np.eye(4)[predicted], labels, classes=names(4), draws=3)
    shares = {("accuracy", None): (55, 65)}
    shares |= {("recall", k): share for k, share in enumerate([(40, 40), (15, 20), (0, 5)])}
    shares |= {("precision", k): share for k, share in enumerate([(40, 40), (15, 15), (0, 5)])}
    for (name, k), (hits, of) in shares.items():
        score = found[name] if k is None else found["classes"][f"class {k}"][name]
        expected = binomtest(hits, of).proportion_ci(method="wilson")
        assert score["value"] == hits / of
        assert (score["low"], score["high"]) == pytest.approx((expected.low, expected.high), abs=1e-12), (name, k)
        assert score["low"] < score["high"]
    none = {"value": None, "low": None, "high": None}
    assert found["classes"]["class 3"]["recall"] == found["classes"]["class 3"]["precision"] == none


def test_same_seed_same_intervals_and_another_seed_others():
    generator = np.random.default_rng(1)
    probabilities, labels = generator.dirichlet(np.ones(3), 50), generator.integers(0, 3, 50)
    first, again, other = (
        metrics_with_intervals(probabilities, labels, classes=names(3), draws=50, seed=seed) for seed in (0, 0, 1)
    )
    assert first == again
    assert first["brier"]["value"] == other["brier"]["value"]
    assert first["brier"]["low"] != other["brier"]["low"]
    assert first["accuracy"] == other["accuracy"]
    assert first["interval"].endswith("others: percentile bootstrap over images, 50 draws, seed 0")


def test_a_class_without_images_is_left_out_but_predictions_into_it_are_errors():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.9, 0.05, 0.05]])
    found = metrics_with_intervals(probabilities, [0, 1, 1, 0], classes=["a", "b", "c"], draws=10)
    assert found["accuracy"]["value"] == 0.75
    assert found["balanced_accuracy"]["value"] == pytest.approx((1 + 0.5) / 2)
    assert found["macro_f1"]["value"] == pytest.approx((1 + 2 / 3) / 2)
    absent = found["classes"]["c"]
    assert (absent["support"], absent["predicted"]) == (0, 1)
    empty = {"value": None, "low": None, "high": None}
    assert all(absent[score] == empty for score in ("precision", "recall", "f1", "auroc"))


def test_baselines_come_from_the_labels_alone():
    labels = [2, 2, 2, 0, 1, 1]
    found = metrics_with_intervals(
        np.full((6, 3), 1 / 3), labels, classes=["a", "b", "c"], trained_classes=["c", "a"], draws=0
    )
    assert (found["majority_class"], found["majority_accuracy"]) == ("c", 0.5)
    assert found["ceiling_accuracy"] == pytest.approx(4 / 6)
    assert found["trained_classes"] == ["a", "c"]
    assert found["interval"] == "none"
    assert found["accuracy"] == {"value": pytest.approx(1 / 6), "low": None, "high": None}
    unknown = metrics_with_intervals(np.full((6, 3), 1 / 3), labels, classes=["a", "b", "c"], draws=0)
    assert unknown["ceiling_accuracy"] is None
    assert unknown["trained_classes"] is None


GOOD = [[0.5, 0.5], [0.25, 0.75]]


@pytest.mark.parametrize(
    ("probabilities", "labels", "classes", "words"),
    [
        ([[0.5, 0.5], [math.nan, 1]], [0, 1], "ab", "prediction 1 holds a value that is not finite"),
        ([[0.5, 0.5], [math.inf, 0]], [0, 1], "ab", "prediction 1 holds a value that is not finite"),
        ([[0.5, 0.5], [0.25, 0.7]], [0, 1], "ab", "prediction 1 does not sum to 1"),
        ([[1.5, -0.5], [0.25, 0.75]], [0, 1], "ab", "prediction 0 holds a value below 0"),
        (np.zeros((0, 2)), np.zeros(0, dtype=int), "ab", "no predictions"),
        (np.zeros((2, 0)), [0, 1], "", "no predictions"),
        (GOOD, [0, 2], "ab", "label 1 is no class number from 0 to 1"),
        (GOOD, [-1, 0], "ab", "label 0 is no class number"),
        (GOOD, [0.0, 1.0], "ab", "integers"),
        (GOOD, ["a", "b"], "ab", "integers"),
        (GOOD, [0, 1, 1], "ab", r"\[2, 2\], labels \[3\]"),
        (GOOD, [0, 1], "abc", "3 classes"),
        ([0.5, 0.5], [0, 1], "ab", "expected"),
        (GOOD, [0, 1], "aa", "twice"),
        ([["x", "y"]], [0], "ab", "arrays of numbers"),
    ],
)
def test_bad_input_is_named(probabilities, labels, classes, words):
    with pytest.raises(DataError, match=words):
        metrics_with_intervals(probabilities, labels, classes=list(classes))


def test_unknown_trained_class_and_negative_draws_are_refused():
    with pytest.raises(DataError, match="trained classes z"):
        metrics_with_intervals(GOOD, [0, 1], classes=["a", "b"], trained_classes=["z"])
    with pytest.raises(UsageError, match="draws -1"):
        metrics_with_intervals(GOOD, [0, 1], classes=["a", "b"], draws=-1)


def test_rows_within_rounding_of_one_are_taken():
    rounded = np.array([[0.3334, 0.3333, 0.3330], [0.5004, 0.25, 0.25]], dtype=np.float32)
    assert metrics_with_intervals(rounded, [0, 0], classes=list("abc"), draws=0)["accuracy"]["value"] == 1.0
