"""Moves against an automaton that cannot tell them apart, and agreement against formulas."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata

from leukonca import NCAClassifier
from leukonca.data.preprocessing import Preprocessing
from leukonca.errors import UsageError
from leukonca.explain.explainer import Explainer
from leukonca.explain.stability import MOVES, agreement, circle

EXACT = [name for name, move in MOVES.items() if move.exact]


def explainer(*, symmetric: bool) -> Explainer:
    """Every cell fires; with symmetric filters no cell knows which of its neighbors is the left one."""
    torch.manual_seed(5)
    made = NCAClassifier(preset="tiny", fire_rate=1.0, num_classes=4)
    with torch.no_grad():
        torch.nn.init.normal_(made.update_weight, std=0.05)
        if symmetric:
            turned = [torch.rot90(made.kernels, quarters, (-2, -1)) for quarters in range(4)]
            made.kernels.copy_(torch.stack([*turned, *(each.flip(-1) for each in turned)]).mean(0))
    made.config = replace(made.config, preprocessing=Preprocessing(grid=24), mean=(0.7,) * 3, std=(0.2,) * 3)
    return Explainer(made)


@pytest.fixture(scope="module")
def small(cell: np.ndarray) -> np.ndarray:
    """As the automaton sees it: resizing rounds rows and columns one after the other, so a turn changes last bits."""
    return np.ascontiguousarray(cell[::4, ::4])


@pytest.mark.parametrize("name", EXACT)
def test_an_automaton_without_directions_gives_the_same_maps(name: str, small: np.ndarray) -> None:
    explain, move = explainer(symmetric=True), MOVES[name]
    why, moved = explain(small, epsilon=0), explain(move.do(small), epsilon=0)
    assert moved.predicted == why.predicted
    for one, other in ((why.pixel_map(), moved.pixel_map()), (why.heat(), moved.heat())):
        assert np.abs(one - move.undo(other)).max() <= 2e-4 * np.abs(one).max()
        assert agreement(np.abs(one), np.abs(move.undo(other))).similarity > 0.9999
    assert agreement(why.pixel_map(), move.undo(moved.pixel_map())).rank > 0.9999


@pytest.mark.parametrize("name", EXACT)
def test_one_with_directions_does_not(name: str, small: np.ndarray) -> None:
    explain, move = explainer(symmetric=False), MOVES[name]
    one, other = explain(small).pixel_map(), explain(move.do(small)).pixel_map()
    assert agreement(one, move.undo(other)).rank < 0.9


@pytest.mark.parametrize("name", MOVES)
def test_undoing_a_move_lays_every_pixel_where_it_was(name: str, cell: np.ndarray) -> None:
    move = MOVES[name]
    moved = move.do(cell)
    assert moved.dtype == np.uint8
    assert moved.shape == cell.shape
    back = move.undo(moved[:, :, 1].astype(float))
    inside = circle(len(cell))
    if move.exact:
        assert (back == cell[:, :, 1]).all()
        assert (moved != cell).any()
    else:
        assert np.corrcoef(back[inside], cell[:, :, 1][inside])[0, 1] > 0.98
        assert np.corrcoef(moved[:, :, 1][inside], cell[:, :, 1][inside])[0, 1] < 0.95


def test_agreement_is_what_the_formulas_say() -> None:
    rng = np.random.default_rng(0)
    a = gaussian_filter(rng.normal(size=(30, 30)), 1.5)
    b = a + 0.5 * gaussian_filter(rng.normal(size=(30, 30)), 1.5)
    inside = circle(30)
    found = agreement(a, 7 * b)  # how large a map is does not count
    ranks = np.corrcoef(rankdata(a[inside]), rankdata(b[inside]))[0, 1]
    assert found.rank == pytest.approx(ranks)
    x, y = (np.where(inside, v, 0) / np.sqrt((v[inside] ** 2).mean()) for v in (a, b))
    spread = max(x[inside].max(), y[inside].max()) - min(x[inside].min(), y[inside].min())

    def local(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, 1.5, truncate=3.5)

    c1, c2 = (0.01 * spread) ** 2, (0.03 * spread) ** 2  # Wang et al. 2004, eq. 13
    mx, my = local(x), local(y)
    vx, vy, vxy = local(x * x) - mx**2, local(y * y) - my**2, local(x * y) - mx * my
    wanted = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert found.similarity == pytest.approx(wanted[inside].mean(), abs=1e-6)
    assert agreement(a, a).rank == pytest.approx(1)
    assert agreement(a, a).similarity == pytest.approx(1)
    shuffled = rng.permutation(a.ravel()).reshape(a.shape)
    assert abs(agreement(a, shuffled).rank) < 0.15
    assert agreement(a, shuffled).similarity < 0.3
    assert agreement(np.zeros((12, 12)), np.ones((12, 12))).rank == 0


def test_maps_that_cannot_be_compared_are_refused() -> None:
    for a, b in (((12, 12), (13, 13)), ((12, 13), (12, 13)), ((9, 9), (9, 9))):
        with pytest.raises(UsageError, match="expected two of one shape, square"):
            agreement(np.zeros(a), np.zeros(b))
