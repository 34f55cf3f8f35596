"""Training an AE-CFE: its losses by formula, what it may look at, and that a killed run ends with the same bits."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch
from skimage.metrics import structural_similarity
from sklearn.metrics import accuracy_score

import leukonca
from leukonca.data.cells import Cells
from leukonca.data.splits import Split, split_cells
from leukonca.data.synthetic import SYNTHETIC_CENTERS, synthetic_cells
from leukonca.errors import UsageError
from leukonca.evaluation.run import evaluate_cells
from leukonca.models.aecfe import AECFE
from leukonca.models.aecfe_architecture import AECFEArchitecture
from leukonca.taxonomy import CLASSES
from leukonca.training import aecfe
from leukonca.training.aecfe import train_aecfe
from leukonca.training.aecfe_loss import domain_distance, domain_loss, similarity_map
from leukonca.training.aecfe_recipe import AECFE_RECIPES, AECFERecipe, aecfe_recipe_for

RECIPE = AECFERecipe(
    architecture=AECFEArchitecture(
        grid=24,
        encoder=(8, 6, 10, 10, 40),
        latent=6,
        decoder=(6, 8),
        image_decoder=(6, 4, 4, 4),
        trees=12,
        depth=5,
    ),
    epochs=2,
    batch_size=8,
    draws=16,
)


def pictures(seed: int) -> np.ndarray:
    """Float64 [2, 3, 40, 36] in 0..1, smooth and rough parts."""
    draw = np.random.default_rng(seed)
    x = np.linspace(0, 3, 40)[:, None] * np.linspace(0, 2, 36)
    return np.clip(0.5 + 0.4 * np.sin(x + seed) + 0.1 * draw.normal(size=(2, 3, 40, 36)), 0, 1)


def test_similarity_is_that_of_scikit_image() -> None:
    first, second = pictures(1), pictures(2)
    found = similarity_map(torch.from_numpy(first), torch.from_numpy(second), 11)
    assert found.shape == (2, 3, 30, 26)
    for a, b, one in zip(first, second, found, strict=True):
        settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
        expected = structural_similarity(a, b, channel_axis=0, **settings)
        assert float(one.mean()) == pytest.approx(expected, abs=1e-6)
    assert torch.allclose(similarity_map(*[torch.from_numpy(first)] * 2, 11), torch.tensor(1.0, dtype=torch.float64))


def test_an_even_window_with_zeros_around_as_the_authors_have_it() -> None:
    first, second = pictures(3), pictures(4)
    places = np.arange(10) - 5
    window = np.exp(-(places[:, None] ** 2 + places**2) / (2 * 1.5**2))
    window /= window.sum()

    def blur(plane: np.ndarray) -> np.ndarray:
        return scipy.signal.correlate2d(np.pad(plane, 5), window, mode="valid")

    found = similarity_map(torch.from_numpy(first), torch.from_numpy(second), 10, padding=5).numpy()
    assert found.shape == (2, 3, 41, 37)
    for a, b, one in zip(first.reshape(-1, 40, 36), second.reshape(-1, 40, 36), found.reshape(-1, 41, 37), strict=True):
        m1, m2 = blur(a), blur(b)
        v1, v2, both = blur(a * a) - m1**2, blur(b * b) - m2**2, blur(a * b) - m1 * m2
        expected = (2 * m1 * m2 + 1e-4) * (2 * both + 9e-4) / ((m1**2 + m2**2 + 1e-4) * (v1 + v2 + 9e-4))
        np.testing.assert_allclose(one, expected, atol=1e-6)


def distance_by_formula(first: np.ndarray, second: np.ndarray) -> float:
    p, q = (np.exp(c) / np.exp(c).sum(axis=0) for c in (np.cov(first.T), np.cov(second.T)))
    divergence = 0.5 * ((p * np.log(p / q)).mean() + (q * np.log(q / p)).mean())
    return float(((first.mean(axis=0) - second.mean(axis=0)) ** 2).mean() + divergence)


def test_domains_are_compared_by_means_and_covariances() -> None:
    draw = np.random.default_rng(0)
    first, second, third = (draw.normal(size=(n, 5), loc=n / 20, scale=1 + n / 20) for n in (12, 9, 7))
    tensors = [torch.from_numpy(each) for each in (first, second, third)]
    assert float(domain_distance(*tensors[:2])) == pytest.approx(distance_by_formula(first, second), rel=1e-9)
    assert float(domain_distance(tensors[0], tensors[0])) == pytest.approx(0, abs=1e-12)
    latents, centers = torch.cat(tensors), torch.tensor([0] * 12 + [1] * 9 + [2] * 7)
    mixed = torch.randperm(28, generator=torch.Generator().manual_seed(0))
    found = domain_loss(latents[mixed], centers[mixed], source=1)
    assert float(found) == pytest.approx(distance_by_formula(second, first) + distance_by_formula(second, third))
    alone = domain_loss(latents[:13], centers[:13], source=0)  # one image of another center has no covariance
    assert float(alone) == 0


@pytest.fixture(scope="module")
def centers() -> list[Cells]:
    return [synthetic_cells(name, 6, 0, RECIPE.preprocessing, quiet=True)[0] for name in SYNTHETIC_CENTERS]


@pytest.fixture(scope="module")
def split(centers: list[Cells]) -> Split:
    return split_cells(centers[0], fold=0)


def bits(model: AECFE) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in model.weights().items()}


def darkened(cells: Cells, indices: np.ndarray) -> Cells:
    images = cells.images.copy()
    images[indices] //= 2
    return replace(cells, images=images)


def test_strict_looks_at_nothing_but_the_training_part_of_the_source(
    centers: list[Cells], split: Split, tmp_path: Path
) -> None:
    whole = train_aecfe(centers, 0, split, RECIPE, tmp_path / "all", quiet=True)
    hidden = np.concatenate([split.test, split.validation])
    alone = train_aecfe([darkened(centers[0], hidden)], 0, split, RECIPE, tmp_path / "one", quiet=True)
    assert bits(alone) == bits(whole)
    log = [json.loads(line) for line in (tmp_path / "all" / "log.jsonl").read_text().splitlines()]
    assert [line["domain_loss"] for line in log] == [0, 0]
    assert log[1]["loss"] < log[0]["loss"]
    assert whole.config.data["seen_without_labels"] == f"{len(split.train)} of {SYNTHETIC_CENTERS[0]}"


def test_paper_looks_at_all_images_and_at_no_label_but_the_sources(
    centers: list[Cells], split: Split, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, protocol="paper", draws=16, epochs=1, batch_size=16)
    plain = train_aecfe(centers, 0, split, recipe, tmp_path / "a", quiet=True)
    turned = [centers[0], *(replace(cells, labels=cells.labels[::-1].copy()) for cells in centers[1:])]
    assert bits(train_aecfe(turned, 0, split, recipe, tmp_path / "b", quiet=True)) == bits(plain)
    for number in (0, 2):
        hidden = np.concatenate([split.test, split.validation]) if number == 0 else np.arange(len(centers[2]))
        other = [darkened(cells, hidden) if i == number else cells for i, cells in enumerate(centers)]
        assert bits(train_aecfe(other, 0, split, recipe, tmp_path / f"c{number}", quiet=True)) != bits(plain)
    told = ", ".join(f"{len(cells)} of {cells.center}" for cells in centers)
    assert plain.config.data["seen_without_labels"] == told
    (line,) = [json.loads(line) for line in (tmp_path / "a" / "log.jsonl").read_text().splitlines()]
    assert line["domain_loss"] > 0
    parts = line["image_loss"] + line["feature_loss"] + 5 * line["domain_loss"]
    assert line["loss"] == pytest.approx(parts, rel=1e-5)


def test_it_is_tested_like_any_other_model(centers: list[Cells], split: Split, tmp_path: Path) -> None:
    model = train_aecfe(centers, 0, split, replace(RECIPE, epochs=1), tmp_path / "run", synthetic=True, quiet=True)
    loaded = leukonca.load(tmp_path / "run")
    assert isinstance(loaded, AECFE)
    assert bits(loaded) == bits(model)
    assert loaded.config.trained_classes == CLASSES
    # The forest knows what it was grown on, far above chance (1 in 13).
    known = model.probabilities(centers[0].images[split.train]).argmax(axis=1)
    assert accuracy_score(centers[0].labels[split.train], known) > 0.6
    every = np.arange(len(centers[1]), dtype=np.int64)
    found = [
        evaluate_cells(loaded, centers[1], every, normalisation=whose, quiet=True) for whose in ("training", "target")
    ]
    for evaluation in found:
        np.testing.assert_allclose(evaluation.probabilities, model.probabilities(centers[1].images), atol=1e-5)
        assert evaluation.note == "colors as they are"
    card = (tmp_path / "run" / "MODEL_CARD.md").read_text()
    assert "extractor stain" in card
    assert "colors as they are" in card
    assert f"Parameters: {sum(value.numel() for value in model.parameters()):,};" in card


def test_an_interrupted_run_ends_with_the_same_bits(
    centers: list[Cells], split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(RECIPE, protocol="paper")
    whole = train_aecfe(centers, 0, split, recipe, tmp_path / "whole", quiet=True)
    plain: Callable[..., Any] = aecfe._epoch

    def stopped(run: Any, epoch: int, shown: Any) -> Any:
        if epoch == 1:
            raise KeyboardInterrupt
        return plain(run, epoch, shown)

    with monkeypatch.context() as patch:
        patch.setattr(aecfe, "_epoch", stopped)
        with pytest.raises(KeyboardInterrupt):
            train_aecfe(centers, 0, split, recipe, tmp_path / "parts", quiet=True)
    with pytest.raises(UsageError, match="--resume"):
        train_aecfe(centers, 0, split, recipe, tmp_path / "parts", quiet=True)
    with pytest.raises(UsageError, match="other settings"):
        train_aecfe(centers, 0, split, replace(recipe, window=8), tmp_path / "parts", resume=True, quiet=True)
    parts = train_aecfe(centers, 0, split, recipe, tmp_path / "parts", resume=True, quiet=True)
    assert bits(parts) == bits(whole)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"protocol": "loose"}, "protocol is 'loose': there are strict, paper"),
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": 1}, "batch_size is 1"),
        ({"draws": 0}, "draws is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0"),
        ({"domain_weight": -1.0}, "domain_weight is -1"),
        ({"detector": "x.pth"}, "maskrcnn, and no other, needs detector"),
        ({"architecture": AECFEArchitecture(extractor="maskrcnn")}, "needs detector"),
    ],
)
def test_recipes_that_cannot_be_meant_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        replace(AECFERecipe(), **changes)


def test_the_papers_recipe_and_wrong_calls(centers: list[Cells], split: Split, tmp_path: Path) -> None:
    paper = aecfe_recipe_for("aecfe")
    assert (paper.epochs, paper.learning_rate, paper.window, paper.domain_weight) == (150, 1e-3, 10, 5)
    assert (paper.architecture.trees, paper.architecture.depth, paper.protocol) == (100, 16, "strict")
    with pytest.raises(UsageError, match=f"'nca': there are {', '.join(AECFE_RECIPES)}"):
        aecfe_recipe_for("nca")
    with pytest.raises(UsageError, match="source 3: there are 3 centers"):
        train_aecfe(centers, 3, split, RECIPE, tmp_path / "run", quiet=True)
    with pytest.raises(UsageError, match="cells were loaded for"):
        train_aecfe(centers, 0, split, replace(RECIPE, field_um=20.0), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
