"""A model that decides by a mark in the corner is caught; one that looks at the nucleus is not."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from leukonca import NCAClassifier
from leukonca.data.preprocessing import Preprocessing
from leukonca.data.synthetic import SYNTHETIC_CENTERS, draw_cell
from leukonca.errors import UsageError
from leukonca.explain.audit import Audit
from leukonca.explain.explainer import Explainer


def model(sees: torch.Tensor, threshold: float) -> Explainer:
    """Channel 3 grows where the colors of a cell lie along `sees`; it alone speaks for class_1."""
    made = NCAClassifier(preset="tiny", num_classes=2)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
        made.hidden_weight[0, :3] = sees
        made.hidden_bias[0] = -threshold
        made.update_weight[3, 0] = 1
        made.head[0].weight[0, 3] = 1
        made.head[2].weight[1, 0] = 1
    made.config = replace(
        made.config, preprocessing=Preprocessing(grid=24), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
    )
    return Explainer(made)


DARK = model(torch.tensor([0.0, -1.0, 0.0]), 0.0)
MARK = model(torch.tensor([-1.0, 2.0, -1.0]), 2.0)
"""Green, which no stain has."""


def marked(index: int, *, mark: bool) -> tuple[np.ndarray, np.ndarray]:
    image, mask = draw_cell(SYNTHETIC_CENTERS[0], "monocyte", index, 2)
    if mark:
        image = image.copy()
        image[:9, :9] = (0, 255, 0)
    return image, mask


def audited(explainer: Explainer) -> dict:
    audit = Audit()
    for index in range(4):
        image, mask = marked(index, mark=True)
        audit.add(f"{index}.png", explainer(image, target="class_1", mask=mask))
    return audit.result()


def test_the_biased_model_does_give_the_class_by_the_mark_alone() -> None:
    for index in range(4):
        assert MARK(marked(index, mark=True)[0]).predicted == "class_1"
        assert MARK(marked(index, mark=False)[0]).logit == 0


def test_it_is_caught_and_the_other_is_not() -> None:
    biased, sound = audited(MARK), audited(DARK)
    caught = biased["classes"]["class_1"]
    assert caught["outside"] > 0.9
    assert caught["flagged"] == caught["cells"] == 4
    assert [cell["path"] for cell in biased["flagged"]] == ["0.png", "1.png", "2.png", "3.png"]
    assert caught["channels"][0] == {"channel": 3, "relevance": 1.0, "outside": 1.0}
    clean = sound["classes"]["class_1"]
    assert clean["outside"] < 0.05 < clean["background"]
    assert sound["flagged"] == []
    assert clean["channels"][0]["outside"] == 0


def test_without_a_mask_nothing_is_audited() -> None:
    with pytest.raises(UsageError, match="without a mask"):
        Audit().add("a.png", DARK(marked(0, mark=False)[0]))
