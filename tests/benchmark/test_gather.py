"""Intervals of the mean over folds: against drawing the images one by one, and against what must hold exactly."""

import numpy as np
import pytest

from leukonca.benchmark.gather import SCORES, Answers, interval

CLASSES = ("a", "b", "c")


def answers(images: int, right: float, seed: int, names: str = "image") -> Answers:
    generator = np.random.default_rng(seed)
    truth = generator.choice(3, images, p=[0.6, 0.3, 0.1])
    label = np.where(generator.random(images) < right, truth, generator.integers(0, 3, images))
    return {f"{names}{i}": (CLASSES[t], CLASSES[p]) for i, (t, p) in enumerate(zip(truth, label, strict=True))}


def scores_of(truth: np.ndarray, label: np.ndarray) -> dict[str, float]:
    recalls, f1s = [], []
    for k in set(truth.tolist()):
        hits = np.sum((truth == k) & (label == k))
        recalls.append(hits / np.sum(truth == k))
        f1s.append(2 * hits / (np.sum(truth == k) + np.sum(label == k)))
    return {
        "accuracy": float(np.mean(truth == label)),
        "balanced_accuracy": float(np.mean(recalls)),
        "macro_f1": float(np.mean(f1s)),
    }


def by_drawing(folds: list[Answers], draws: int, seed: int) -> dict[str, tuple[float, float]]:
    """The definition, without any shortcut."""
    generator = np.random.default_rng(seed)
    paths = sorted(set().union(*folds))
    pairs = [np.array([[CLASSES.index(x) for x in fold.get(path, ())] or [-1, -1] for path in paths]) for fold in folds]
    values: dict[str, list[float]] = {name: [] for name in SCORES}
    for _ in range(draws):
        drawn = generator.choice(len(paths), len(paths))
        each = [scores_of(*pair[drawn][pair[drawn][:, 0] >= 0].T) for pair in pairs]
        for name in SCORES:
            values[name].append(float(np.mean([scores[name] for scores in each])))
    return {name: (float(np.quantile(each, 0.025)), float(np.quantile(each, 0.975))) for name, each in values.items()}


@pytest.mark.parametrize("shared", [True, False])
def test_as_by_drawing_image_by_image(shared: bool) -> None:
    folds = [answers(120, right, seed, "image" if shared else f"fold{seed}-") for seed, right in enumerate((0.4, 0.7))]
    if shared:  # the same images, so the same truth
        folds[1] = {path: (folds[0][path][0], label) for path, (_, label) in folds[1].items()}
    expected = by_drawing(folds, draws=1500, seed=3)
    for name, ends in interval(folds, CLASSES, draws=4000, seed=0).items():
        assert ends == pytest.approx(expected[name], abs=0.012)


def test_accuracy_of_one_fold_is_the_binomial_interval() -> None:
    fold = answers(2000, 0.5, 1)
    share = np.mean([truth == label for truth, label in fold.values()])
    low, high = interval([fold], CLASSES, draws=4000, seed=0)["accuracy"]
    half = 1.96 * np.sqrt(share * (1 - share) / 2000)
    assert (low, high) == pytest.approx((share - half, share + half), abs=0.002)


def test_the_same_answers_twice_are_no_more_certain_than_once() -> None:
    fold = answers(100, 0.6, 2)
    assert interval([fold, fold], CLASSES) == interval([fold], CLASSES)


def test_images_of_their_own_make_the_mean_more_certain() -> None:
    one, other = answers(400, 0.6, 2, "a"), answers(400, 0.6, 3, "b")
    low, high = interval([one, other], CLASSES)["accuracy"]
    alone_low, alone_high = interval([one], CLASSES)["accuracy"]
    assert (high - low) / (alone_high - alone_low) == pytest.approx(np.sqrt(0.5), abs=0.08)


@pytest.mark.parametrize("right", [True, False])
def test_all_or_none_right_is_not_certain(right: bool) -> None:
    """Wilson's interval has a closed form there: z^2 / (n + z^2) from the end."""
    fold = {f"{i}": ("a", "a" if right else "b") for i in range(20)}
    far = 1.959964**2 / (20 + 1.959964**2)
    told = interval([fold, fold], CLASSES)
    assert told["accuracy"] == pytest.approx((1 - far, 1) if right else (0, far), abs=1e-6)
    assert "macro_f1" not in told


def test_the_seed_decides() -> None:
    fold = answers(100, 0.6, 2)
    assert interval([fold], CLASSES, seed=1) == interval([fold], CLASSES, seed=1)
    assert interval([fold], CLASSES, seed=1) != interval([fold], CLASSES, seed=2)
