"""What pages say about a cell that was decided by its background, and which steps they show."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from leukonca import Explanation, NCAClassifier
from leukonca.data.preprocessing import Preprocessing
from leukonca.errors import UsageError
from leukonca.explain.explainer import Explainer
from leukonca.explain.figures import steps_figure
from leukonca.report.explanation import Setting, by_background, index, write_page

SETTING = Setting("leukonca explain", "runs/mine")


@pytest.fixture(scope="module")
def why() -> Explanation:
    torch.manual_seed(2)
    made = NCAClassifier(preset="tiny")
    torch.nn.init.normal_(made.update_weight, std=0.1)  # untrained, it is 0: only single pixels had relevance
    made.config = replace(made.config, preprocessing=Preprocessing(grid=24), mean=(0.5,) * 3, std=(0.25,) * 3)
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    return Explainer(made)(image, steps=9)


def masked(why: Explanation, share: float) -> Explanation:
    """With a cell that holds so much of the relevance, the strongest pixels first."""
    size = np.abs(why.pixel_map()).ravel().astype(float)
    order = np.argsort(-size)
    held = np.cumsum(size[order]) <= share * size.sum()
    mask = np.zeros(size.shape, np.uint8)
    mask[order[held]] = 255
    return replace(why, mask=mask.reshape(24, 24))


def test_cells_decided_by_the_background_are_marked(why: Explanation, tmp_path: Path) -> None:
    beside, inside = masked(why, 0.45), masked(why, 0.55)
    assert by_background(beside)
    assert not by_background(inside)
    assert not by_background(why)
    pages = {}
    for name, e in (("beside", beside), ("inside", inside)):
        write_page(tmp_path / f"{name}.html", e, "a.png", SETTING, film=False)
        pages[name] = (tmp_path / f"{name}.html").read_text(encoding="utf-8")
    assert "More than 50% of the relevance lies outside the cell" in pages["beside"]
    assert "lies outside the cell" not in pages["inside"]
    with index(tmp_path / "index.html", SETTING, masks=True) as rows:
        rows.add("beside.html", beside, "beside.png")
        rows.add("inside.html", inside, "inside.png")
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    marked = [line for line in text.splitlines() if "<strong>background</strong>" in line]
    assert len(marked) == 1
    assert "beside.png" in marked[0]


@pytest.mark.parametrize(
    ("facts", "said", "unsaid"),
    [
        ({"flag": "uncertain"}, ["largest probability is below"], ["expected"]),
        (
            {"flag": "uncertain", "prior": "blood", "without_prior": "smudge_cell"},
            ["the expected shares of the kinds changed the answer", "would predict smudge cell"],
            ["largest probability is below"],
        ),
        (
            {"flag": "uncertain", "prior": "<b>.toml"},
            ["largest probability is below", "(&lt;b&gt;.toml)", "would predict the same"],
            ["changed the answer"],
        ),
        ({"flag": "unusual"}, ["unlike those that the model was trained on"], ["never trained"]),
        ({"flag": "unusual", "taught": False}, ["The model was never trained on"], ["unlike those"]),
        ({"flag": "uncertain", "taught": False}, ["The model was never trained on"], ["largest probability is below"]),
    ],
)
def test_doubts_are_told_with_their_reason(
    facts: dict[str, Any], said: list[str], unsaid: list[str], why: Explanation, tmp_path: Path
) -> None:
    taught = facts.get("taught", True)
    changes = {name: value for name, value in facts.items() if name != "taught"}
    if "prior" in facts:
        changes = {"without_prior": why.predicted, **changes}
    setting = replace(SETTING, untrained=frozenset() if taught else frozenset({why.predicted}))
    write_page(tmp_path / "a.html", replace(why, **changes), "a.png", setting, film=False)
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    remarks = " ".join(line for line in page.splitlines() if line.startswith('<p class="note">'))
    for words in said:
        assert words in remarks
    for words in unsaid:
        assert words not in remarks


def test_chosen_steps_are_shown(why: Explanation) -> None:
    def titles(at: tuple[int, ...]) -> list[str]:
        return [axes.get_title() for axes in steps_figure(why, at=at).axes if axes.get_title()]

    assert titles((7, 2)) == ["step 2", "step 7"]
    assert titles(()) == [f"step {step}" for step in (1, 3, 4, 6, 7, 9)]
    first = steps_figure(why, at=(7,)).axes[0].images[0].get_array()
    values = why.history[:, 0].astype(float)
    wanted = (values[6] - values.min()) / (values.max() - values.min())
    np.testing.assert_allclose(first, wanted, atol=1 / 63)
    for at in ((0,), (10,), (1, 2, 3, 4, 5, 6, 7)):
        with pytest.raises(UsageError, match="at most 6 of them, from 1 to 9"):
            steps_figure(why, at=at)
