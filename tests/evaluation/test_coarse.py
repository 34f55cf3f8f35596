"""Scores on coarser classes against sums written out and scikit-learn."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, recall_score, roc_auc_score

from leukonca import NCAClassifier
from leukonca.data.cells import Cells
from leukonca.data.preprocessing import Preprocessing
from leukonca.data.synthetic import synthetic_cells
from leukonca.errors import DataError
from leukonca.evaluation.coarse import scoring_level
from leukonca.evaluation.run import evaluate_cells
from leukonca.models.config import ModelConfig
from leukonca.models.presets import PRESETS
from leukonca.taxonomy import CLASSES, COARSE_CLASSES, EACH_ITSELF

PREPROCESSING = Preprocessing(grid=16, margin=2, field_um=18.0)
FIVE = {
    "basophil": ("basophil",),
    "eosinophil": ("eosinophil",),
    "neutrophil": ("neutrophil_banded", "neutrophil_segmented"),
    "monocyte": ("monocyte",),
    "lymphocyte": ("lymphocyte_typical", "lymphocyte_atypical"),
}
EIGHT = {
    "basophil": ("basophil",),
    "immature_granulocyte": COARSE_CLASSES["immature_granulocyte"],
    "neutrophil": COARSE_CLASSES["neutrophil"],
    "platelet": ("platelet",),
}


@pytest.fixture(scope="module")
def drawn() -> Cells:
    return synthetic_cells("synthetic_cream", 3, 0, PREPROCESSING, quiet=True)[0]


def labelled(cells: Cells, comprises: dict[str, tuple[str, ...]]) -> Cells:
    """The cells that the coarser classes have a name for, under that name."""
    name_of = {finer: k for k, names in enumerate(comprises.values()) for finer in names}
    kept = [i for i, label in enumerate(cells.labels) if CLASSES[label] in name_of]
    return replace(
        cells,
        paths=tuple(cells.paths[i] for i in kept),
        labels=np.array([name_of[CLASSES[cells.labels[i]]] for i in kept]),
        images=cells.images[kept],
        groups=cells.groups[kept],
        digests=tuple(cells.digests[i] for i in kept),
        comprises=comprises,
    )


def model_of(classes: tuple[str, ...], **changes: object) -> NCAClassifier:
    torch.manual_seed(1)
    model = NCAClassifier.from_architecture(
        replace(PRESETS["tiny"], channels=6, hidden=8, steps=3, grid=16), classes=classes
    )
    torch.nn.init.normal_(model.update_weight, std=0.3)
    model.config = replace(
        model.config, preprocessing=PREPROCESSING, mean=(0.8, 0.7, 0.6), std=(0.1, 0.2, 0.3), **changes
    )
    return model.eval()


@pytest.fixture
def any_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model's answers are drawn: sharp, of every class."""

    def answers(model: NCAClassifier, cells: Cells, indices: np.ndarray, *_: object, **__: object) -> np.ndarray:
        drawn = np.random.default_rng(3).dirichlet([0.2] * len(model.config.classes), len(indices))
        return np.log(np.maximum(drawn, 1e-30)).astype(np.float32)

    monkeypatch.setattr("leukonca.evaluation.run.predicted_logits", answers)


@pytest.mark.usefixtures("any_answers")
def test_five_classes_against_sums_by_hand_and_sklearn(drawn: Cells) -> None:
    cells = labelled(drawn, FIVE)
    model = model_of(
        CLASSES, trained_classes=("basophil", "lymphocyte_typical", "smudge_cell", "monocyte", "eosinophil")
    )
    every = np.arange(len(cells))
    result = evaluate_cells(model, cells, every, quiet=True)
    fine = evaluate_cells(model, drawn, np.arange(len(drawn)), quiet=True)
    assert fine.probabilities is fine.outputs
    assert "scored_as" not in fine.metrics

    p = result.outputs.astype(np.float64)  # [N, 13]
    by_hand = np.stack([p[:, 0], p[:, 1], p[:, 7] + p[:, 8], p[:, 9], p[:, 10] + p[:, 11]], axis=1)
    by_hand = np.concatenate([by_hand, p[:, [2, 3, 4, 5, 6, 12]].sum(axis=1, keepdims=True)], axis=1)
    np.testing.assert_allclose(result.probabilities, by_hand, rtol=1e-12)
    np.testing.assert_allclose(result.probabilities.sum(axis=1), 1.0, atol=1e-5)

    metrics, predicted = result.metrics, by_hand.argmax(axis=1)
    assert metrics["class_names"] == [*FIVE, "other"]
    assert set(predicted) == set(range(6))
    np.testing.assert_array_equal(metrics["confusion"], confusion_matrix(cells.labels, predicted, labels=range(6)))
    assert metrics["accuracy"]["value"] == (predicted == cells.labels).mean()
    recall = recall_score(cells.labels, predicted, labels=range(5), average="macro")
    assert metrics["balanced_accuracy"]["value"] == pytest.approx(recall)
    aurocs = [roc_auc_score(cells.labels == k, by_hand[:, k]) for k in range(5)]
    assert metrics["macro_auroc"]["value"] == pytest.approx(np.mean(aurocs))
    truth = np.eye(6)[cells.labels]
    assert metrics["brier"]["value"] == pytest.approx(((by_hand - truth) ** 2).sum(axis=1).mean())
    assert metrics["majority_class"] == "neutrophil"
    assert metrics["majority_accuracy"] == 6 / 21
    assert metrics["trained_classes"] == ["basophil", "eosinophil", "monocyte", "lymphocyte", "other"]
    assert metrics["ceiling_accuracy"] == pytest.approx(15 / 21)  # neither kind of neutrophil was trained on
    assert metrics["scored_as"]["neutrophil"] == {
        "outputs": ["neutrophil_banded", "neutrophil_segmented"],
        "labels": ["neutrophil"],
    }
    assert metrics["scored_as"]["other"]["labels"] == []
    assert len(metrics["scored_as"]["other"]["outputs"]) == 6


@pytest.mark.usefixtures("any_answers")
def test_calibration_is_that_of_the_sums(drawn: Cells) -> None:
    result = evaluate_cells(model_of(CLASSES), labelled(drawn, FIVE), np.arange(21), quiet=True)
    top = result.probabilities.max(axis=1)
    right = result.probabilities.argmax(axis=1) == result.labels
    bins = np.ceil(top * 15).astype(int)
    by_hand = sum(abs((top - right)[bins == b].sum()) for b in range(16)) / 21
    assert result.metrics["ece"]["value"] == pytest.approx(by_hand)
    assert (top > result.outputs.max(axis=1) + 1e-4).any()


def test_a_coarser_model_on_finer_labels(drawn: Cells) -> None:
    model = model_of(tuple(EIGHT), trained_classes=tuple(EIGHT))
    result = evaluate_cells(model, drawn, np.arange(len(drawn)), quiet=True)
    metrics = result.metrics
    assert metrics["class_names"][0] == "basophil"
    assert metrics["class_names"][-1] == "other"  # platelets: no label has them
    truth = [metrics["class_names"][k] for k in result.labels]
    expected = {finer: name for name, names in EIGHT.items() for finer in names}
    assert truth == [expected.get(CLASSES[label], CLASSES[label]) for label in drawn.labels]
    assert metrics["classes"]["monocyte"]["predicted"] == 0
    np.testing.assert_allclose(
        result.probabilities[:, metrics["class_names"].index("immature_granulocyte")], result.outputs[:, 1]
    )
    assert metrics["ceiling_accuracy"] == pytest.approx(6 / 13)


def test_classes_of_ones_own_are_known_from_the_model(drawn: Cells) -> None:
    own = {"granular": ("basophil", "eosinophil"), "rest": tuple(CLASSES[2:])}
    model = model_of(tuple(own), data={"comprises": {name: list(finer) for name, finer in own.items()}})
    same = evaluate_cells(model, labelled(drawn, own), np.arange(39), quiet=True)
    finer = evaluate_cells(model, drawn, np.arange(39), quiet=True)
    assert "scored_as" not in same.metrics
    assert same.metrics["confusion"] == finer.metrics["confusion"]
    assert same.metrics["class_names"] == finer.metrics["class_names"] == list(own)
    unknown = model_of(tuple(own))
    with pytest.raises(
        DataError, match=r"none of its classes \(basophil, .*\) is one of the model's \(granular, rest\)"
    ):
        evaluate_cells(unknown, drawn, np.arange(39), quiet=True)


def test_levels_where_each_is_finer_somewhere(drawn: Cells) -> None:
    classes = ("neutrophil_segmented", "neutrophil_banded", "lymphocyte")
    labels = {name: EACH_ITSELF.get(name) or COARSE_CLASSES[name] for name in ("neutrophil", "lymphocyte_typical")}
    config = ModelConfig(PRESETS["tiny"], classes=classes)
    level = scoring_level(labelled(drawn, labels), config)
    assert level.classes == ("neutrophil", "lymphocyte")
    assert level.outputs.tolist() == [0, 0, 1]
    assert level.labels.tolist() == [0, 1]
    assert level.trained_classes is None
    added = level.probabilities(np.array([[0.25, 0.5, 0.25]], dtype=np.float32))
    assert added.tolist() == [[0.75, 0.25]]


def test_classes_that_cut_across_each_other_are_refused(drawn: Cells) -> None:
    young = {"young": ("myelocyte", "metamyelocyte", "neutrophil_banded"), "monocyte": ("monocyte",)}
    with pytest.raises(DataError, match=r"its class young \(.*\) and the model's neutrophil \(.*\) do not fit"):
        scoring_level(labelled(drawn, young), ModelConfig(PRESETS["tiny"], classes=("monocyte", "neutrophil")))
    swapped = {"monocyte": ("monocyte",), "basophil": ("eosinophil",)}
    with pytest.raises(DataError, match="do not fit"):
        scoring_level(
            labelled(drawn, swapped),
            ModelConfig(
                PRESETS["tiny"],
                classes=("basophil", "eos"),
                data={"comprises": {"basophil": ["monocyte", "basophil"], "eos": ["eosinophil"]}},
            ),
        )
