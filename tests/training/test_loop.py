"""Training: it learns, it repeats itself to the bit, it never looks at the test fold, and it fails clearly."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import leukonca
from leukonca.data.augment import normalise
from leukonca.data.augmentation import NO_AUGMENTATION
from leukonca.data.cells import Cells
from leukonca.data.colors import cell_colors
from leukonca.data.splits import Split, read_split
from leukonca.errors import DataError, ModelError, UsageError
from leukonca.taxonomy import CLASSES
from leukonca.training import draws, loop
from leukonca.training.checkpoint import read_checkpoint
from leukonca.training.loop import train
from leukonca.training.recipe import Recipe, to_json


def short(recipe: Recipe, **changes: Any) -> Recipe:
    return replace(recipe, **{"epochs": 1, "draws": 8, "small_grid_epochs": 0, **changes})


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def bits(model: leukonca.NCAClassifier) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in model.weights().items()}


def views(cells: Cells, indices: np.ndarray) -> np.ndarray:
    """Float64 [N, 16, 16, 3] in 0..1, margins of 2 cut off."""
    return cells.images[indices][:, 2:-2, 2:-2].astype(np.float64) / 255


def logits_of(model: leukonca.NCAClassifier, cells: Cells, indices: np.ndarray, seed: int = 0) -> np.ndarray:
    mean, std = model.config.normalisation()
    x = ((views(cells, indices) - mean) / std).transpose(0, 3, 1, 2)
    with torch.no_grad():
        return model(torch.from_numpy(x).float(), seed=seed).double().numpy()


def test_color_statistics_are_those_of_the_training_pixels(cells: Cells, split: Split) -> None:
    mean, std = cell_colors(cells, split.train)
    pixels = views(cells, split.train).reshape(-1, 3)
    np.testing.assert_allclose(mean, pixels.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(std, pixels.std(axis=0), rtol=1e-6)
    many = np.resize(split.train, 1100)  # several chunks
    np.testing.assert_allclose(cell_colors(cells, many)[1], views(cells, many).reshape(-1, 3).std(axis=0), rtol=1e-6)
    x = torch.rand(2, 3, 4, 5, dtype=torch.float64)
    expected = (x.numpy().transpose(0, 2, 3, 1) - mean) / std
    np.testing.assert_allclose(normalise(x, mean, std, "plain").numpy(), expected.transpose(0, 3, 1, 2))


def test_images_of_one_color_are_refused(cells: Cells, split: Split) -> None:
    grey = replace(cells, images=np.full_like(cells.images, 90))
    with pytest.raises(DataError, match="the same in every image"):
        cell_colors(grey, split.train)


def test_it_learns(cells: Cells, split: Split, recipe: Recipe, tmp_path: Path) -> None:
    eager = replace(
        recipe,
        architecture=replace(recipe.architecture, channels=12, hidden=32, steps=8),
        augmentation=NO_AUGMENTATION,
        epochs=4,
        draws=375,
        batch_size=15,
        learning_rate=0.03,
        small_grid_epochs=0,
    )
    model = train(cells, split, eager, tmp_path / "run", quiet=True)
    history = log_of(tmp_path / "run")
    assert history[-1]["loss"] < 0.6 * math.log(3)  # of a model that only knows there are three classes
    right = logits_of(model, cells, split.train, seed=1).argmax(axis=1) == cells.labels[split.train]
    assert right.mean() > 0.7  # chance: 0.33
    assert history[-1]["accuracy"] > 0.7


class Watch:
    """Notes what every optimiser step of a run starts from and ends in."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.weights: list[list[np.ndarray]] = []
        self.rates: list[float] = []
        self.norms: list[float] = []
        step = torch.optim.Adam.step

        def noted(optimiser: torch.optim.Adam, *arguments: Any) -> Any:
            (group,) = optimiser.param_groups
            if not self.weights:
                self.weights.append([value.detach().double().numpy().copy() for value in group["params"]])
            self.rates.append(group["lr"])
            self.norms.append(math.sqrt(sum(float(value.grad.double().square().sum()) for value in group["params"])))
            result = step(optimiser, *arguments)
            self.weights.append([value.detach().double().numpy().copy() for value in group["params"]])
            return result

        monkeypatch.setattr(torch.optim.Adam, "step", noted)


def test_running_average_learning_rate_and_clipping_follow_their_formulas(
    cells: Cells, split: Split, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(monkeypatch)
    clipped = replace(recipe, clip=0.05, average=0.3, muon_rate=None)
    model = train(cells, split, clipped, tmp_path / "run", quiet=True)
    assert len(watch.rates) == 3 * 4  # 14 draws in batches of 4
    warm = np.minimum(1, np.arange(1, 13) / 3)
    fall = 0.5 * (1 + np.cos(np.pi * np.maximum(0, np.arange(12) - 3) / 9))
    np.testing.assert_allclose(watch.rates, 1e-2 * warm * fall, rtol=1e-9)
    assert [line["learning_rate"] for line in log_of(tmp_path / "run")] == watch.rates[3::4]
    assert max(watch.norms) <= 0.05 * (1 + 1e-5)
    average = watch.weights[0]
    for n, weights in enumerate(watch.weights[1:], start=1):
        keep = min(0.3, (1 + n) / (10 + n))
        average = [keep * old + (1 - keep) * new for old, new in zip(average, weights, strict=True)]
    for expected, value in zip(average, model.parameters(), strict=True):
        np.testing.assert_allclose(value.detach().numpy(), expected, rtol=1e-5, atol=1e-6)
    assert np.abs(average[0] - watch.weights[-1][0]).max() > 1e-5


def test_without_average_the_last_weights_are_kept(
    cells: Cells, split: Split, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(monkeypatch)
    model = train(cells, split, short(recipe, average=0.0, clip=None, muon_rate=None), tmp_path / "run", quiet=True)
    for expected, value in zip(watch.weights[-1], model.parameters(), strict=True):
        np.testing.assert_array_equal(value.detach().double().numpy(), expected)


def test_same_seed_same_bits_whatever_the_global_generators_hold(
    cells: Cells, split: Split, recipe: Recipe, tmp_path: Path
) -> None:
    runs = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.manual_seed(len(runs))
        before = torch.get_rng_state()
        runs.append(bits(train(cells, split, short(recipe), tmp_path / name, seed=seed, quiet=True)))
        assert torch.equal(torch.get_rng_state(), before)
    assert runs[0] == runs[1]
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()
    assert all(runs[0][name] != runs[2][name] for name in runs[0])


def test_the_test_fold_is_never_looked_at(cells: Cells, split: Split, recipe: Recipe, tmp_path: Path) -> None:
    images, labels = cells.images.copy(), cells.labels.copy()
    images[split.test] = 255 - images[split.test]
    labels[split.test] = labels[split.test][::-1]
    watched = images.copy()
    watched[split.validation] = 255 - watched[split.validation]
    honest = train(cells, split, short(recipe), tmp_path / "a", quiet=True)
    other_test = train(replace(cells, images=images, labels=labels), split, short(recipe), tmp_path / "b", quiet=True)
    train(replace(cells, images=watched), split, short(recipe), tmp_path / "c", quiet=True)
    assert bits(other_test) == bits(honest)
    told = [{**model.config.data, "split_sha256": ""} for model in (other_test, honest)]
    assert told[0] == told[1]
    assert replace(other_test.config, data={}) == replace(honest.config, data={})
    first, second, third = ({**log_of(tmp_path / name)[0], "seconds": 0} for name in "abc")
    assert first == second
    assert first["validation_loss"] != third["validation_loss"]  # validation images are only watched
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "c" / "model.safetensors").read_bytes()


def test_what_a_run_leaves(cells: Cells, split: Split, recipe: Recipe, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "run"
    model = train(cells, split, recipe, folder, seed=3, quiet=True)
    names = {"recipe.json", "split.json", "log.jsonl", "checkpoint.safetensors"}
    assert {path.name for path in folder.iterdir()} == names | {"model.safetensors", "config.json", "MODEL_CARD.md"}
    written = json.loads((folder / "recipe.json").read_text())
    facts = {"seed": 3, "engine": "auto", "version": leukonca.__version__, "data": cells.fingerprint}
    assert written == json.loads(json.dumps({**to_json(recipe), **facts}))
    again = read_split(folder / "split.json", cells)
    assert all((getattr(again, part) == getattr(split, part)).all() for part in ("train", "validation", "test"))
    loaded = leukonca.load(folder)
    assert bits(loaded) == bits(model)
    config = loaded.config
    assert config.classes == CLASSES
    assert config.trained_classes == ("eosinophil", "lymphocyte_typical", "smudge_cell")
    assert {**config.recipe, **facts} == written
    assert config.preprocessing == recipe.preprocessing
    assert config.image_um == cells.image_um
    assert (config.mean, config.std) == cell_colors(cells, split.train)
    assert config.data["fingerprint"] == cells.fingerprint
    assert config.data["training_images"] == len(split.train)

    history = log_of(folder)
    assert [line["epoch"] for line in history] == [1, 2, 3]
    assert all(line["images"] == 14 and line["seconds"] > 0 for line in history)
    assert all(line["accuracy"] * 14 == pytest.approx(round(line["accuracy"] * 14)) for line in history)
    logits, labels = logits_of(loaded, cells, split.validation), cells.labels[split.validation]
    log_odds = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert history[-1]["validation_loss"] == pytest.approx(-log_odds[np.arange(len(labels)), labels].mean(), rel=1e-4)
    assert history[-1]["validation_accuracy"] == pytest.approx((logits.argmax(axis=1) == labels).mean())


def test_engines_train_alike(cells: Cells, split: Split, recipe: Recipe, tmp_path: Path) -> None:
    one, other = (
        train(cells, split, short(recipe), tmp_path / engine, engine=engine, quiet=True).weights()
        for engine in ("cpu", "reference")
    )
    for name, array in one.items():
        np.testing.assert_allclose(array, other[name], rtol=1e-3, atol=1e-4, err_msg=name)


def test_losses_follow_their_formulas() -> None:
    logits = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 3, 1, 1, 2])
    z, hot = logits.numpy(), np.eye(4)[labels.numpy()]
    chance = 1 / (1 + np.exp(-z))
    binary = -(hot * np.log(chance) + (1 - hot) * np.log(1 - chance)).mean()
    assert float(loop.loss_of(logits, labels, Recipe(loss="binary_cross_entropy"))) == pytest.approx(binary)
    p = np.exp(z)[np.arange(5), labels.numpy()] / np.exp(z).sum(axis=1)
    focal = -((1 - p) ** 2 * np.log(p)).mean()
    assert float(loop.loss_of(logits, labels, Recipe(loss="focal"))) == pytest.approx(focal)
    sure = torch.tensor([[200.0, 0.0]], requires_grad=True)  # p is 1
    (slope,) = torch.autograd.grad(loop.loss_of(sure, torch.tensor([0]), Recipe(loss="focal")), sure)
    assert slope.tolist() == [[0, 0]]
    smooth = 0.8 * hot + 0.2 / 4
    cross = -(smooth * (z - np.log(np.exp(z).sum(axis=1, keepdims=True)))).sum(axis=1).mean()
    assert float(loop.loss_of(logits, labels, Recipe(label_smoothing=0.2))) == pytest.approx(cross)


def test_without_balance_every_image_is_seen_once_an_epoch(
    cells: Cells, split: Split, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    augment = draws.augment

    def noted(squares: Tensor, *arguments: Any, **settings: Any) -> Tensor:
        seen.append(squares.clone())
        return augment(squares, *arguments, **settings)

    monkeypatch.setattr(draws, "augment", noted)
    train(cells, split, short(recipe, balance=False, draws=None, epochs=2), tmp_path / "run", quiet=True)
    both = torch.cat(seen).numpy()
    wanted = sorted(cells.images[i].tobytes() for i in split.train)
    first, second = both[: len(split.train)], both[len(split.train) :]
    assert sorted(image.tobytes() for image in first) == wanted
    assert sorted(image.tobytes() for image in second) == wanted
    assert first.tobytes() != second.tobytes()


def of_epoch_three(value: float) -> Callable[..., float]:
    plain = loop.learning_rate
    return lambda recipe, step, in_all: value if step >= 8 else plain(recipe, step, in_all)


def test_a_huge_learning_rate_is_told_with_the_epoch(
    cells: Cells, split: Split, recipe: Recipe, tmp_path: Path
) -> None:
    wild = replace(recipe, learning_rate=1e30, clip=None)
    with pytest.raises(
        ModelError, match=r"epoch 1: the loss is no longer finite; no epoch was finished yet.*--learning"
    ):
        train(cells, split, wild, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("engine", "what"),
    [("cpu", "weights"), ("cpu", "infinite weights"), ("cpu", "gradient"), ("reference", "gradient")],
)
def test_a_run_that_diverges_keeps_its_last_good_checkpoint(
    cells: Cells, split: Split, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, what: str
) -> None:
    if what == "gradient":  # the loss is finite, its gradient is not
        plain, calls = loop.loss_of, iter(range(10**6))

        def steep(*arguments: Any) -> Tensor:
            loss = plain(*arguments)
            if not loss.requires_grad or next(calls) < 8:
                return loss
            return loss.detach() + (loss - loss.detach()) * 1e30 * 1e30

        monkeypatch.setattr(loop, "loss_of", steep)
    else:
        monkeypatch.setattr(loop, "learning_rate", of_epoch_three(1e30 if what == "weights" else math.inf))
    with pytest.raises(ModelError, match="epoch 3: the loss is no longer finite; the checkpoint of epoch 2 stays in"):
        train(cells, split, replace(recipe, clip=None), tmp_path / "run", engine=engine, quiet=True)
    kept = read_checkpoint(tmp_path / "run")
    assert kept is not None
    assert (kept.epochs_done, kept.steps_done) == (2, 8)
    assert all(bool(torch.isfinite(value).all()) for value in kept.tensors.values())
    assert [line["epoch"] for line in log_of(tmp_path / "run")] == [1, 2]


def test_a_class_that_cannot_be_learned_is_named(cells: Cells, split: Split, recipe: Recipe, tmp_path: Path) -> None:
    eosinophils = cells.labels == CLASSES.index("eosinophil")
    without = replace(split, train=split.train[~eosinophils[split.train]])
    with pytest.raises(DataError, match="class eosinophil has 8 images, none of them in the training folds"):
        train(cells, without, recipe, tmp_path / "run", quiet=True)
    with pytest.raises(DataError, match="no image is left for validation"):
        train(cells, replace(split, validation=split.validation[:0]), recipe, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"seed": -1}, "seed -1"),
        ({"seed": 2**32}, "seed 4294967296"),
        ({"seed": 1.0}, "seed 1.0"),
        ({"device": "abacus"}, "device 'abacus' cannot be used here"),
        ({"device": "xpu"}, "device 'xpu' cannot be used here"),
        ({"engine": "abacus"}, "engine 'abacus'"),
    ],
)
def test_wrong_calls_end_before_anything_is_written(
    cells: Cells, split: Split, recipe: Recipe, tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        train(cells, split, recipe, tmp_path / "run", quiet=True, **settings)
    assert not (tmp_path / "run").exists()


def test_cells_of_another_preprocessing(cells: Cells, split: Split, recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"loaded for .*margin=2.*the recipe needs .*margin=3"):
        train(cells, split, replace(recipe, margin=3), tmp_path / "run", quiet=True)


def test_a_place_that_cannot_be_written(cells: Cells, split: Split, recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="cannot write there"):
        train(cells, split, recipe, tmp_path / "file", quiet=True)
