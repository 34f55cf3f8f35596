"""The explainer against the predictor, the module and autograd."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import leukonca
from leukonca.errors import DataError, ModelError, UsageError
from leukonca.explain.explainer import Explainer
from leukonca.explain.explanation import Explanation
from leukonca.explain.where import heat_map, region
from leukonca.models.pooling import POOLINGS
from leukonca.models.unusual import UnusualScore

BUILDS = [*({"pooling": pooling} for pooling in POOLINGS), {"patch": 2}]


@pytest.mark.parametrize("build", BUILDS)
def test_it_explains_what_the_predictor_says(
    build: dict[str, Any], save_model: Callable[..., Path], cell: np.ndarray
) -> None:
    folder = save_model(**build)
    told = leukonca.Predictor(folder)([cell], seed=4, image_um=30.0)
    why = Explainer(folder)(cell, seed=4, image_um=30.0, epsilon=0)
    assert why.predicted == why.target == told.labels[0]
    np.testing.assert_allclose(why.probabilities, told.probabilities[0], atol=1e-6)
    assert why.probability == pytest.approx(float(told.probabilities.max()), abs=1e-6)
    assert (why.image == leukonca.Predictor(folder).prepare(cell, image_um=30.0)).all()
    assert why.um_per_pixel == pytest.approx(28 / 24)
    parts = float(why.channels.sum(dtype=float)) + why.head_bias + why.head_absorbed
    assert parts == pytest.approx(why.logit, abs=1e-4)
    below = float(why.pixels.sum(dtype=float)) + float(why.step_bias.sum(dtype=float))
    sizes = float(np.abs(why.pixels).sum())
    assert below == pytest.approx(float(why.channels.sum(dtype=float)), abs=1e-4 * sizes)


@pytest.mark.parametrize("build", BUILDS)
def test_pixels_are_gradient_times_input_of_the_module(
    build: dict[str, Any], save_model: Callable[..., Path], cell: np.ndarray
) -> None:
    model = leukonca.load(save_model(**build), engine="reference").double()
    if build.get("pooling") in (
        "topk",
        "attention",
    ):  # colors of pixels are often equal, and torch then takes any of them
        with torch.no_grad():
            model.head[0].weight[:, :3] = 0
    why = Explainer(model)(cell, target="monocyte", seed=9, epsilon=0)
    mean, std = (np.array(values) for values in model.config.normalisation())
    image = (why.image / 255 - mean) / std
    x = torch.from_numpy(image.transpose(2, 0, 1)[None]).requires_grad_()
    logit = model(x, seed=9)[0, leukonca.CLASSES.index("monocyte")]
    logit.backward()
    wanted = (x.grad * x).detach()[0].permute(1, 2, 0).numpy()
    assert why.logit == pytest.approx(logit.item(), abs=1e-4)
    assert np.abs(why.pixels - wanted).max() <= 2e-3 * np.abs(wanted).max()


def test_a_cell_that_holds_a_patch_is_shown_over_its_pixels(save_model: Callable[..., Path], cell: np.ndarray) -> None:
    why = Explainer(save_model(patch=2))(cell)
    assert (why.patch, why.image.shape, why.state.shape) == (2, (24, 24, 3), (12, 12, 16))
    heat = heat_map(why.state, why.channels)
    assert why.heat().shape == why.pixel_map().shape == (24, 24)
    np.testing.assert_allclose(why.heat()[1::2, ::2], heat / 4, rtol=1e-6)
    assert float(why.heat().sum(dtype=float)) == pytest.approx(float(heat.sum(dtype=float)), abs=1e-5)
    for channel in why.top:
        row, column = why.winners[channel]
        assert why.region(channel)[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].all()
        assert why.region(channel).sum() == 4 * region(why.state[:, :, channel]).sum()
        assert tuple(why.winning_pixels[channel]) == (2 * row + 0.5, 2 * column + 0.5)


def test_every_way_to_name_the_model_and_every_engine_agree(model_folder: Path, cell: np.ndarray) -> None:
    wanted = Explainer(model_folder)(cell)
    ways = [
        Explainer(str(model_folder), engine="reference"),
        Explainer(model_folder, engine="torch"),
        Explainer(leukonca.load(model_folder)),
        Explainer(leukonca.Predictor(model_folder)),
    ]
    for way in ways:
        found = way(cell)
        assert found.top == wanted.top
        np.testing.assert_allclose(found.pixels, wanted.pixels, atol=1e-3 * np.abs(wanted.pixels).max())
    assert leukonca.explain_cell(model_folder, cell, pixels=False).pixels is None


def test_history_and_state_are_those_of_the_rollout(model_folder: Path, cell: np.ndarray) -> None:
    why = Explainer(model_folder)(cell, seed=2, steps=5, top=3)
    model = leukonca.load(model_folder)
    mean, std = model.config.normalisation()
    x = torch.from_numpy(((why.image / 255 - np.array(mean)) / np.array(std)).transpose(2, 0, 1)[None]).float()
    with torch.no_grad():
        states = model.rollout(x, steps=5, seed=2, record=True)[:, 0].numpy()  # [5, C, H, W]
    assert why.history.shape == (5, 3, 24, 24)
    np.testing.assert_allclose(why.history, states[:, list(why.top)], atol=1e-5)
    np.testing.assert_allclose(why.state.transpose(2, 0, 1), states[-1], atol=1e-5)
    assert why.steps == 5
    sizes = np.abs(why.channels)
    assert list(why.top) == sorted(range(16), key=lambda c: -sizes[c])[:3]
    assert (np.diff(why.channels[why.order()]) <= 0).all()
    for c, (row, column) in enumerate(why.winners):
        assert states[-1][c, row, column] == pytest.approx(states[-1][c].max(), abs=1e-6)


def test_masks_say_how_much_lies_inside(model_folder: Path, cell: np.ndarray) -> None:
    everywhere = np.full(cell.shape[:2], 255, np.uint8)
    why = Explainer(model_folder)(cell, mask=everywhere)
    assert why.inside() == pytest.approx({"nucleus": 1.0, "cytoplasm": 0.0, "background": 0.0})
    assert Explainer(model_folder)(cell).inside() is None
    with pytest.raises(DataError, match="must be of its image's size"):
        Explainer(model_folder)(cell, mask=everywhere[1:])


def test_it_is_kept_whole(model_folder: Path, cell: np.ndarray, tmp_path: Path) -> None:
    for pixels in (True, False):
        why = Explainer(model_folder)(cell, pixels=pixels, mask=np.full(cell.shape[:2], 128, np.uint8))
        why.save(tmp_path / "why.npz")
        again = Explanation.load(tmp_path / "why.npz")
        for name, value in vars(why).items():
            kept = getattr(again, name)
            if isinstance(value, np.ndarray):
                assert kept.dtype == value.dtype
                assert (kept == value).all()
            else:
                assert kept == value
                assert type(kept) is type(value)
    (tmp_path / "other.npz").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match="not an explanation"):
        Explanation.load(tmp_path / "other.npz")
    with pytest.raises(DataError, match="no such file"):
        Explanation.load(tmp_path / "none.npz")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": "thrombocyte"}, "this model knows basophil, eosinophil"),
        ({"steps": 0}, "steps 0"),
        ({"top": True}, "top True"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_call_that_cannot_be_meant_is_refused(
    settings: dict[str, object], message: str, model_folder: Path, cell: np.ndarray
) -> None:
    with pytest.raises(UsageError, match=message):
        Explainer(model_folder)(cell, **settings)


def test_models_that_cannot_be_explained_are_refused(save_model: Callable[..., Path], cell: np.ndarray) -> None:
    with pytest.raises(UsageError, match="engine 'gpu'"):
        Explainer(save_model(), engine="gpu")
    with pytest.raises(UsageError, match="expected uint8"):
        Explainer(save_model())(cell.astype(np.float32))
    with pytest.raises(ModelError, match="no color statistics"):
        Explainer(save_model(mean=None))
    with pytest.raises(ModelError, match="overflow"):
        Explainer(save_model(strength=1e9))(cell)


def test_the_answer_is_flagged_as_in_a_prediction(save_model: Callable[..., Path], cell: np.ndarray) -> None:
    folder = save_model(thresholds={"uncertain": 1.0})
    assert Explainer(folder)(cell).flag == "uncertain"
    assert Explainer(folder)(cell).unusual is None
    model = leukonca.load(folder)
    channels = model.architecture.channels
    model.unusual = UnusualScore(
        cells=np.ones((5, channels), np.int8),
        unit=np.full(channels, channels**-0.5, np.float32),
        usual=np.empty(0, np.float32),
    )
    for limit, flag in ((1e-6, "unusual"), (2.1, "uncertain")):
        model.config = replace(model.config, thresholds={"uncertain": 1.0, "unusual": limit})
        model.save(folder)
        told = leukonca.Predictor(folder)([cell], seed=2)
        for explainer in (Explainer(folder), Explainer(model), Explainer(leukonca.Predictor(folder))):
            why = explainer(cell, seed=2)
            assert (why.flag, told.flags) == (flag, (flag,))
            assert why.unusual == pytest.approx(float(told.unusual[0]), abs=1e-4)
            assert why.unusual_above == limit
            assert why.uncertainty == pytest.approx(float(told.uncertainty[0]), abs=1e-4)
        assert explainer(cell, steps=2).unusual is None  # other features than it was fitted to


def test_a_prior_weighs_the_answer_but_no_relevance(save_model: Callable[..., Path], cell: np.ndarray) -> None:
    recipe = {"balance": True, "loss": "cross_entropy"}
    folder = save_model(recipe=recipe)
    alone = Explainer(folder)(cell, seed=2)
    other = next(name for name in leukonca.CLASSES if name != alone.predicted)
    assert (alone.prior, alone.without_prior) == ("", "")
    for shares, changed in (({other: 1}, True), ({alone.predicted: 0.9, other: 0.1}, False)):
        told = leukonca.Predictor(folder)([cell], seed=2, prior=shares)
        why = Explainer(folder)(cell, seed=2, prior=shares)
        assert why.predicted == why.target == told.labels[0] == (other if changed else alone.predicted)
        assert (why.flag != "", told.changed[0]) == (told.flags[0] != "", changed)
        assert (why.prior, why.without_prior) == ("own", alone.predicted)
        np.testing.assert_allclose(why.probabilities, told.probabilities[0], atol=1e-6)
        named = Explainer(folder)(cell, seed=2, target=why.target)
        np.testing.assert_array_equal(why.channels, named.channels)
        np.testing.assert_array_equal(why.pixels, named.pixels)
        assert why.logit == named.logit
    with pytest.raises(UsageError, match="no such file"):
        Explainer(folder)(cell, prior="marrow")
    with pytest.raises(ModelError, match="balanced classes"):
        Explainer(save_model())(cell, prior="blood")


def test_other_weights_give_another_relevance_of_channels(save_model: Callable[..., Path], cell: np.ndarray) -> None:
    """Adebayo et al. 2018: an explanation that stays when weights are shuffled explains nothing of the model."""
    model = leukonca.load(save_model())
    found = Explainer(model)(cell, target="monocyte")
    generator, alike = np.random.default_rng(0), []
    for _ in range(8):
        weights = {k: generator.permutation(v.ravel()).reshape(v.shape) for k, v in model.weights().items()}
        other = Explainer(type(model).from_weights(model.config, weights))(cell, target="monocyte")
        alike.append(spearmanr(found.channels, other.channels).statistic)
    same = spearmanr(found.channels, Explainer(model)(cell, target="monocyte", seed=1).channels).statistic
    assert same > 0.9
    assert abs(np.mean(alike)) < 0.3
