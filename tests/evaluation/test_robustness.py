"""Testing on corrupted images against the same done by hand: corrupt, load, evaluate."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score

from leukonca import NCAClassifier
from leukonca.data.cells import Cells
from leukonca.data.preprocessing import Preprocessing
from leukonca.data.synthetic import synthetic_cells
from leukonca.errors import DataError, UsageError
from leukonca.evaluation.calibration import expected_calibration_error
from leukonca.evaluation.corruption import CORRUPTIONS, corrupt
from leukonca.evaluation.robustness import robustness, shifted_accuracy
from leukonca.evaluation.run import Normalisation, evaluate_cells
from leukonca.models.classifier import Classifier
from leukonca.models.presets import ResNeXtArchitecture
from leukonca.models.resnext import ResNeXt

PREPROCESSING = Preprocessing(grid=16, margin=2, field_um=18.0)
SMALL = ResNeXtArchitecture(grid=16, blocks=(1, 1, 1, 1), width=8, groups=2, group_width=16)


def fitted(model: Classifier) -> Classifier:
    model.config = replace(
        model.config, preprocessing=PREPROCESSING, image_um=30.0, mean=(0.8, 0.7, 0.6), std=(0.1, 0.2, 0.3)
    )
    return model.eval()


@pytest.fixture(scope="module")
def model() -> Classifier:
    torch.manual_seed(1)
    model = NCAClassifier("tiny", channels=6, hidden=8, steps=3, grid=16)
    torch.nn.init.normal_(model.update_weight, std=0.3)
    return fitted(model)


@pytest.fixture(scope="module")
def cells() -> Cells:
    return synthetic_cells("synthetic_cream", 3, 0, PREPROCESSING, quiet=True)[0]


@pytest.mark.parametrize("normalisation", ["training", "target"])
def test_it_is_what_evaluating_corrupted_cells_gives(
    model: Classifier, cells: Cells, normalisation: Normalisation
) -> None:
    indices = np.arange(0, 39, 2)
    um = 18.0 / 16
    result = robustness(
        model,
        cells,
        indices,
        kinds=["darker", "noise"],
        strengths=(2, 5),
        normalisation=normalisation,
        seed=4,
        quiet=True,
    )
    assert result.images == 20
    assert list(result.curves) == ["darker", "noise"]
    for kind, curve in result.curves.items():
        for at, strength in enumerate((2, 5)):
            everything = corrupt(cells.images, kind, strength, places=np.arange(len(cells)), um_per_pixel=um, seed=4)
            by_hand = evaluate_cells(
                model, replace(cells, images=everything), indices, normalisation=normalisation, seed=4, quiet=True
            )
            right = by_hand.probabilities.argmax(axis=1)
            assert curve.scores["accuracy"][at] == by_hand.metrics["accuracy"]
            assert curve.scores["accuracy"][at]["value"] == pytest.approx((right == by_hand.labels).mean())
            assert curve.scores["balanced_accuracy"][at]["value"] == pytest.approx(
                balanced_accuracy_score(by_hand.labels, right)
            )
            assert curve.scores["ece"][at]["value"] == pytest.approx(
                expected_calibration_error(by_hand.probabilities.astype(float), by_hand.labels)
            )
    clean = evaluate_cells(model, cells, indices, normalisation=normalisation, seed=4, quiet=True)
    assert result.clean["accuracy"] == clean.metrics["accuracy"]


class _Brightness(ResNeXt):
    """Answers class 0 where the middle of a view is bright, else class 1."""

    def forward(self, images: torch.Tensor, seed: object = 0) -> torch.Tensor:
        bright = images[:, 0].mean(dim=(1, 2)) * 0.1 + 0.8 > 0.5
        return torch.nn.functional.one_hot(1 - bright.long(), 13).float() * 10


def test_losses_and_means_are_those_of_a_model_that_reads_brightness(cells: Cells) -> None:
    model = fitted(_Brightness(SMALL))
    white = replace(cells, images=np.full_like(cells.images, 200), labels=np.zeros_like(cells.labels))
    indices = np.arange(20)
    result = robustness(model, white, indices, kinds=["darker", "jpeg"], quiet=True)
    right = [200 * factor / 255 > 0.5 for factor in CORRUPTIONS["darker"].values]
    assert [entry["value"] for entry in result.curves["darker"].scores["accuracy"]] == right
    assert 0 < sum(right) < 5
    assert result.clean["accuracy"]["value"] == 1.0
    assert result.curves["darker"].relative_loss == pytest.approx(1 - sum(right) / 5)
    assert result.curves["jpeg"].relative_loss == 0.0
    assert result.relative_loss == pytest.approx((1 - sum(right) / 5) / 2)
    assert shifted_accuracy(model, white, indices, ["darker"]) == pytest.approx(sum(right) / 5)
    assert shifted_accuracy(model, white, indices, ["darker"], (4, 5)) == np.mean(right[3:])
    never = robustness(model, replace(white, labels=white.labels + 2), indices, kinds=["jpeg"], quiet=True)
    assert never.curves["jpeg"].relative_loss is None
    assert never.relative_loss is None


def test_a_cap_draws_the_same_images_for_every_model(model: Classifier, cells: Cells) -> None:
    torch.manual_seed(2)
    other = fitted(ResNeXt(SMALL))
    seen: list[np.ndarray] = []
    for each in (model, other):
        hook = each.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].numpy().copy()))
        found = robustness(each, cells, np.arange(3, 39), kinds=["dust"], strengths=(3,), images=7, seed=5, quiet=True)
        hook.remove()
        assert found.images == 7
    assert [len(batch) for batch in seen] == [7, 7, 7, 7]
    assert np.array_equal(seen[0], seen[2])
    assert np.array_equal(seen[1], seen[3])
    assert not np.array_equal(seen[0], seen[1])


def test_wrong_calls(model: Classifier, cells: Cells) -> None:
    some = np.arange(4)
    with pytest.raises(UsageError, match="fog"):
        robustness(model, cells, some, kinds=["fog"], quiet=True)
    with pytest.raises(UsageError, match="at least one kind"):
        robustness(model, cells, some, kinds=[], quiet=True)
    with pytest.raises(UsageError, match="strengths from 1 to 5"):
        robustness(model, cells, some, strengths=(0, 1), quiet=True)
    with pytest.raises(UsageError, match="0 images"):
        robustness(model, cells, some, images=0, quiet=True)
    with pytest.raises(DataError, match="no image is left"):
        robustness(model, cells, some[:0], quiet=True)
    with pytest.raises(UsageError, match="were loaded for"):
        robustness(model, replace(cells, preprocessing=Preprocessing(20)), some, quiet=True)
