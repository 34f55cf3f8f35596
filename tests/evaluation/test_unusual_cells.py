"""Real cells and a model trained on them: what is no cell is told from what is."""

from pathlib import Path

import numpy as np

import leukonca
from leukonca.data.images import read_image
from leukonca.evaluation.unusual import fit_unusual, threshold
from leukonca.taxonomy import ACEVEDO20_LABELS

MODEL = Path(__file__).parents[2] / "docs" / "results" / "acevedo20-compact-fold0"
FITTED, WATCHED, TESTED = 16, 5, 3


def test_blank_fields_noise_and_platelets_are_unusual_and_cells_are_not(shared_data: Path) -> None:
    predictor = leukonca.Predictor(MODEL)
    files = sorted((shared_data / "acevedo20").rglob("*.jpg"))
    by_label = {own: [file for file in files if file.name.startswith(f"{own}_")] for own in ACEVEDO20_LABELS}
    kept = [own for own, name in ACEVEDO20_LABELS.items() if name is not None]

    def features(images: list[np.ndarray], seed: int) -> np.ndarray:
        return predictor.features(np.stack([predictor.prepare(image) for image in images]), seed=seed)

    def some(part: slice) -> list[np.ndarray]:
        return [read_image(file) for own in kept for file in by_label[own][part]]

    train = some(slice(0, FITTED))
    halves = [features(train[0::2], seed=1), features(train[1::2], seed=2)]
    score = fit_unusual(np.concatenate(halves))
    limit = threshold(score.of(features(some(slice(FITTED, FITTED + WATCHED)), seed=3)))

    def flagged(images: list[np.ndarray]) -> float:
        return float((score.of(features(images, seed=4)) > limit).mean())

    rng = np.random.default_rng(0)
    slide = np.quantile(train[0].reshape(-1, 3), 0.9, axis=0)
    blank = [np.clip(slide + rng.normal(0, 3, (128, 128, 3)), 0, 255).astype(np.uint8) for _ in range(4)]
    noise = [rng.integers(0, 256, (128, 128, 3), dtype=np.uint8) for _ in range(4)]
    assert flagged(blank) == flagged(noise) == 1
    assert flagged([read_image(file) for file in by_label["PLATELET"][:8]]) > 0.7
    assert flagged(some(slice(FITTED + WATCHED, FITTED + WATCHED + TESTED))) < 0.25
