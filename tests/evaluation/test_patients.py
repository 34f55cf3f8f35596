"""Intervals of patients: against images drawn alone, a formula written out, and how often they hold the truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t

from leukonca.errors import DataError
from leukonca.evaluation.certainty import by_flag, certainty
from leukonca.evaluation.intervals import (
    FEWEST,
    bootstrap_counts,
    drawn_interval,
    numbered,
    percentile_interval,
    share_interval,
    share_score,
    wilson_interval,
)
from leukonca.evaluation.metrics import metrics_with_intervals
from leukonca.evaluation.separation import separation


def test_patients_are_numbered_whatever_their_names() -> None:
    assert numbered(()) is None
    numbers = numbered(("7", "Müller", "07", "7"))
    assert numbers is not None
    assert numbers.tolist() == [1, 2, 0, 1]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(0, 2**32))
def test_a_draw_holds_all_images_of_each_patient_that_it_draws(whose: list[int], seed: int) -> None:
    numbers = numbered([str(each) for each in whose])
    assert numbers is not None
    patients = numbers.max() + 1
    counts = np.concatenate(list(bootstrap_counts(len(whose), 8, seed, numbers)), axis=1)
    assert counts.shape == (len(whose), 8)
    of_each = np.stack([counts[numbers == number].min(axis=0) for number in range(patients)])
    np.testing.assert_array_equal(counts, of_each[numbers])
    assert (of_each.sum(axis=0) == patients).all()


def made(images: int, seed: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    before, after = (generator.dirichlet(np.full(3, strength), images) for strength in (0.4, 0.9))
    return before, after, generator.integers(0, 3, images)


def bootstrapped(found: dict) -> list[dict]:
    return [found[name] for name in ("balanced_accuracy", "macro_f1", "mcc", "macro_auroc", "brier", "ece")] + [
        each[name] for each in found["classes"].values() for name in ("f1", "auroc")
    ]


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 25), st.integers(1, 4), st.integers(0, 1000))
def test_copies_of_an_image_say_no_more_than_it_does(patients: int, copies: int, seed: int) -> None:
    """Each patient has one image, or several copies of it: draws, scores and intervals are the same.

    But for shares of none or all, where nothing tells that the copies are some (`share_interval`).
    """
    before, after, labels = made(patients, seed)
    names = [f"{number:03}" for number in range(patients)]
    classes = ["a", "b", "c"]
    one = metrics_with_intervals(after, labels, classes=classes, patients=names, draws=20, seed=seed)
    again = np.repeat(np.arange(patients), copies)
    several = metrics_with_intervals(
        after[again], labels[again], classes=classes, patients=[names[i] for i in again], draws=20, seed=seed
    )
    assert one["patients"] == several["patients"] == patients
    for single, repeated in zip(bootstrapped(one), bootstrapped(several), strict=True):
        assert [repeated[end] for end in single] == [pytest.approx(single[end]) for end in single]
    doubts = [
        certainty(before[which], after[which], labels[which], after[which, 0] < 0.3, patients=which, draws=20)
        for which in (np.arange(patients), again)
    ]
    for part in ("before", "after"):
        for name in ("ece", "nll", "brier"):
            assert doubts[1][part][name]["low"] == pytest.approx(doubts[0][part][name]["low"])
    shares = [
        [scored["accuracy"], told["flagged"]]
        + [each[name] for each in scored["classes"].values() for name in ("precision", "recall")]
        for scored, told in zip((one, several), doubts, strict=True)
    ]
    for single, repeated in zip(*shares, strict=True):
        assert repeated["value"] == pytest.approx(single["value"])
        if single["value"] not in (None, 0, 1) and single["low"] is not None:
            assert [repeated["low"], repeated["high"]] == pytest.approx([single["low"], single["high"]])


def test_a_share_counts_images_for_what_the_spread_of_patients_says() -> None:
    """Patients of equal numbers of images: the share's variance is that of a mean of their shares."""
    shares = np.array([0.95, 0.6, 0.8, 1.0, 0.7])
    right = np.concatenate([np.arange(20) < 20 * share for share in shares])
    variance = np.var(shares, ddof=1) / 5
    worth = 0.81 * 0.19 / variance * (1.959964 / t.ppf(0.975, 4)) ** 2
    assert worth < 15 < len(right)
    expected = wilson_interval(0.81 * worth, worth)
    assert share_interval(right, np.repeat(np.arange(5), 20)) == pytest.approx(expected, abs=1e-6)


def test_images_never_count_for_more_than_they_are() -> None:
    """Patients who are more alike than chance lets them be: all images count, less what so few patients cost."""
    right = np.tile([True, True, True, False], 6)
    worth = 24 * (1.959964 / t.ppf(0.975, 5)) ** 2
    found = share_interval(right, np.repeat(np.arange(6), 4))
    assert found == pytest.approx(wilson_interval(0.75 * worth, worth), abs=1e-6)
    low, high = share_interval(np.ones(24, bool), np.repeat(np.arange(6), 4)) or (0, 0)
    assert high == 1
    assert low == pytest.approx((wilson_interval(worth, worth) or (0, 0))[0], abs=1e-6)
    assert low < (wilson_interval(24, 24) or (0, 0))[0]


@pytest.mark.parametrize(("patients", "share", "within"), [(10, 0.9, 0.02), (10, 0.6, 0.1), (30, 0.9, 0.1)])
def test_intervals_of_patients_hold_the_truth_and_those_of_images_do_not(
    patients: int, share: float, within: float
) -> None:
    """Simulated patients of about 40 cells, whose own shares vary; `within`: correlation of a patient's cells."""
    generator = np.random.default_rng(0)
    spread = (1 - within) / within
    held = np.zeros(2)
    for _ in range(400):
        sizes = np.maximum(1, generator.poisson(40 * generator.gamma(2, 0.5, patients)))
        own = generator.beta(share * spread, (1 - share) * spread, patients)
        whose = np.repeat(np.arange(patients), sizes)
        right = generator.random(len(whose)) < own[whose]
        for way, given_ in enumerate((whose, None)):
            low, high = share_interval(right, given_) or (1, 0)
            held[way] += low <= share <= high
    assert held[0] > 0.88 * 400
    assert held[1] < 0.85 * 400


def test_one_patient_says_nothing_of_others() -> None:
    before, after, labels = made(12)
    found = metrics_with_intervals(after, labels, classes=["a", "b", "c"], patients=["P"] * 12)
    assert found["patients"] == 1
    assert found["interval"] == "none; all images are of one patient"
    assert found["accuracy"]["value"] is not None
    assert all(score["low"] is None for score in [found["accuracy"], *bootstrapped(found)])
    whose = np.zeros(12, np.int64)
    doubts = certainty(before, after, labels, after[:, 0] < 0.3, patients=whose)
    assert doubts["after"]["ece"]["low"] is doubts["flagged"]["low"] is None
    apart = separation(after[:, 0], before[:, 0], patients=whose)
    assert apart["auroc"]["low"] is None
    assert apart["auroc"]["value"] == separation(after[:, 0], before[:, 0])["auroc"]["value"]
    flags = by_flag(["uncertain"] * 3 + [""] * 9, labels == 0, np.repeat([0, 1, 2], [3, 6, 3]))
    assert flags["uncertain"]["accuracy"]["low"] is None  # all of one patient
    assert flags["none"]["accuracy"]["low"] is not None
    assert share_score(labels == 0, labels > 5) == {"value": None, "low": None, "high": None}


def test_what_is_drawn_is_widened_as_students_interval_is() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.05, 4001)
    low, high = percentile_interval(values) or (0, 0)
    middle = np.median(values)
    assert drawn_interval(values, None) == (low, high)
    for patients in (5, 12, 400):
        wider = t.ppf(0.975, patients - 1) / 1.959964 * np.sqrt(patients / (patients - 1))
        expected = middle - wider * (middle - low), middle + wider * (high - middle)
        assert drawn_interval(values, patients) == pytest.approx(expected, abs=1e-6)
    assert drawn_interval(values, 5, (0.49, 0.51)) == (0.49, 0.51)
    assert drawn_interval(values, FEWEST - 1) is None


def test_a_class_of_few_patients_has_no_interval_that_needs_draws() -> None:
    """Six patients; all of class c is of one of them, or of five."""
    _, after, _ = made(60)
    labels, whose = np.tile([0, 1], 30), np.repeat(np.arange(6), 10)
    for of_c in (1, 5):
        truth = labels.copy()
        truth[np.isin(whose, range(of_c)) & (np.arange(60) % 10 == 0)] = 2
        found = metrics_with_intervals(
            after, truth, classes=["a", "b", "c"], patients=[f"P{i}" for i in whose], draws=50
        )
        known = of_c == 5
        for name in ("balanced_accuracy", "macro_f1", "macro_auroc"):
            assert (found[name]["low"] is not None) == known
        assert (found["classes"]["c"]["f1"]["low"] is not None) == known
        assert (found["classes"]["c"]["auroc"]["low"] is not None) == known
        assert (found["classes"]["c"]["recall"]["low"] is not None) == known
        assert found["classes"]["a"]["f1"]["low"] is not None
        assert found["brier"]["low"] is not None
        assert found["mcc"]["low"] is not None


def test_separation_draws_patients() -> None:
    generator = np.random.default_rng(3)
    usual, unusual = generator.normal(size=120), generator.normal(1.2, 1.5, size=90)
    alone = separation(usual, unusual, draws=300)
    for name, score in separation(usual, unusual, patients=np.arange(90), draws=300).items():
        assert [score["low"], score["high"]] == pytest.approx([alone[name]["low"], alone[name]["high"]], abs=0.01)
    strange = np.sort(unusual)  # each patient's cells are alike
    of_patients = separation(usual, strange, patients=np.repeat(np.arange(9), 10), draws=300)
    for name, score in of_patients.items():
        assert score["value"] == pytest.approx(alone[name]["value"])
        assert score["high"] - score["low"] > 1.5 * (alone[name]["high"] - alone[name]["low"])


def test_how_intervals_were_made_is_said() -> None:
    _, after, labels = made(12)
    found = metrics_with_intervals(after, labels, classes=["a", "b", "c"], patients=list("PPPQQQRRRSSS"), draws=9)
    assert "images that 4 patients make" in found["interval"]
    assert "bootstrap over patients, 9 draws" in found["interval"]
    with pytest.raises(DataError, match="2 patients of 12 predictions"):
        metrics_with_intervals(after, labels, classes=["a", "b", "c"], patients=["P", "Q"])
