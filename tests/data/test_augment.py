from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import ndimage

from leukonca.data.augment import augment, centre_images, sample_views
from leukonca.data.augmentation import NO_AUGMENTATION, Augmentation
from leukonca.data.background import Beyond, background_color
from leukonca.data.images import read_image
from leukonca.data.preprocessing import Preprocessing, centre_view, preprocess
from leukonca.errors import UsageError

from .squares import EVEN, ODD, OFF, noise

ONE_BY_ONE = (
    {"rotation": True},
    {"flips": True},
    {"shift": 0.1},
    {"scale": 0.2},
    {"stain": 0.2},
    {"mixing": 0.3},
    {"tone": 1.0},
    {"redness": 3.0},
)


def blob(settings: Preprocessing, dx: float, dy: float, sigma: float = 2.0) -> torch.Tensor:
    """A dark dot on white, (dx, dy) pixels right of and below the centre."""
    at = np.arange(settings.side) - (settings.side - 1) / 2
    dark = np.exp(-((at[None, :] - dx) ** 2 + (at[:, None] - dy) ** 2) / (2 * sigma**2))
    return torch.from_numpy(np.repeat((255 * (1 - dark)).astype(np.uint8)[None, :, :, None], 3, axis=3))


def centre_of_darkness(view: torch.Tensor) -> np.ndarray:
    """(x, y) from the view's centre, pixels."""
    y, x = ndimage.center_of_mass(np.clip(1 - view[0].numpy() - 0.01, 0, None))
    return np.array([x, y]) - (view.shape[-1] - 1) / 2


def same(count: int) -> np.ndarray:
    return np.tile(np.eye(2), (count, 1, 1))


def turn(degrees: float) -> np.ndarray:
    a = np.deg2rad(degrees)
    return np.array([[[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]])


@pytest.fixture(scope="module")
def real_cells(shared_data: Path) -> torch.Tensor:
    files = [sorted((shared_data / "acevedo20" / kind).glob("*.jpg"))[0] for kind in ("monocyte", "basophil")]
    return torch.from_numpy(np.stack([preprocess(read_image(file), EVEN, 36.0) for file in files]))


@pytest.mark.parametrize("settings", [EVEN, ODD, Preprocessing(grid=16)])
def test_everything_off_is_the_middle_of_the_square(settings: Preprocessing) -> None:
    squares = noise(5, settings)
    expected = np.moveaxis(centre_view(squares.numpy(), settings), -1, 1) / 255
    for views in (
        centre_images(squares, settings),
        augment(squares, settings, NO_AUGMENTATION, torch.arange(5)),
        augment(squares, settings, Augmentation(**OFF), torch.arange(5), grid=settings.grid),
    ):
        assert views.dtype == torch.float32
        assert views.is_contiguous()
        np.testing.assert_allclose(views.numpy(), expected, rtol=0, atol=1e-6)
    unmoved = sample_views(squares, settings, same(5), np.zeros((5, 2)))
    np.testing.assert_allclose(unmoved.numpy(), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("settings", [EVEN, ODD])
@pytest.mark.parametrize("quarters", [1, 2, 3, 4])
def test_quarter_turns_are_those_of_numpy(settings: Preprocessing, quarters: int) -> None:
    squares = noise(1, settings)
    views = sample_views(squares, settings, turn(90 * quarters), np.zeros((1, 2)))
    middle = centre_view(squares.numpy(), settings)[0] / 255
    np.testing.assert_allclose(views[0].permute(1, 2, 0).numpy(), np.rot90(middle, quarters), atol=1e-4)


def test_a_turn_by_any_angle_and_a_shift_match_scipy() -> None:
    settings = Preprocessing(grid=21, margin=8)
    squares = blob(settings, 3, -4)
    matrices, shifts = turn(33), np.array([[0.1, -0.05]])
    views = sample_views(squares, settings, matrices, shifts)[0, 0].numpy()
    swapped = matrices[0][::-1, ::-1]  # scipy counts (row, column) where we count (x, y)
    middle = np.full(2, (settings.side - 1) / 2)
    offset = middle + shifts[0, ::-1] * settings.grid - swapped @ np.full(2, (settings.grid - 1) / 2)
    slow = ndimage.affine_transform(squares[0, :, :, 0].numpy() / 255, swapped, offset, (21, 21), order=1)
    np.testing.assert_allclose(views, slow, atol=1e-4)


@pytest.mark.parametrize("settings", [EVEN, ODD])
@pytest.mark.parametrize("angle", [30.0, 123.0, 300.0])
def test_an_off_axis_dot_goes_round_the_true_centre(settings: Preprocessing, angle: float) -> None:
    view = sample_views(blob(settings, 5, 0), settings, turn(angle), np.zeros((1, 2)))[0]
    expected = turn(angle)[0].T @ [5, 0]
    np.testing.assert_allclose(centre_of_darkness(view), expected, atol=0.1)


@pytest.mark.parametrize("change", ONE_BY_ONE)
def test_each_change_alone_really_changes_the_pixels_of_nearly_all_real_cells(
    real_cells: torch.Tensor, change: dict[str, float]
) -> None:
    squares = real_cells[torch.arange(32) % len(real_cells)]
    plain = centre_images(squares, EVEN)
    views = augment(squares, EVEN, Augmentation(**{**OFF, **change}), torch.arange(32))
    differs = (views - plain).abs().amax(dim=(1, 2, 3)) > 0.02
    # Of two independent flips, a quarter of the views keeps both axes.
    assert differs.float().mean() > (0.5 if "flips" in change else 0.9)
    assert len({view.numpy().tobytes() for view in views[::2]}) > (2 if "flips" in change else 12)
    assert views.min() >= 0
    assert views.max() <= 1


@pytest.mark.parametrize("change", [{"rotation": True}, {"flips": True}, {"scale": 0.2}, {"stain": 0.3}])
@pytest.mark.parametrize("settings", [EVEN, ODD])
def test_a_centred_cell_stays_in_the_centre(settings: Preprocessing, change: dict[str, float]) -> None:
    squares = blob(settings, 0, 0).expand(40, -1, -1, -1)
    for view in augment(squares, settings, Augmentation(**{**OFF, **change}), torch.arange(40)):
        np.testing.assert_allclose(centre_of_darkness(view), 0, atol=0.1)


def test_a_shift_moves_up_to_its_share_of_the_grid_along_both_axes() -> None:
    squares = blob(EVEN, 0, 0).expand(200, -1, -1, -1)
    views = augment(squares, EVEN, Augmentation(**{**OFF, "shift": 0.1}), torch.arange(200))
    moved = np.array([centre_of_darkness(view) for view in views])
    assert np.abs(moved).max() < 0.1 * EVEN.grid + 0.1
    assert (np.abs(moved).max(axis=0) > 0.09 * EVEN.grid).all()
    assert (np.abs(moved.mean(axis=0)) < 0.4).all()


def test_scale_changes_the_size_within_its_bounds_both_ways() -> None:
    squares = blob(EVEN, 0, 0).expand(200, -1, -1, -1)
    plain = float((1 - centre_images(squares[:1], EVEN)).sum())
    views = augment(squares, EVEN, Augmentation(**{**OFF, "scale": 0.25}), torch.arange(200))
    growth = ((1 - views).sum(dim=(1, 2, 3)) / plain).sqrt()
    assert 1.15 < growth.max() < 1.28
    assert 0.78 < growth.min() < 0.85
    assert 0.35 < (growth > 1).float().mean() < 0.65


def test_all_four_flips_come_and_nothing_else() -> None:
    squares = noise(1, EVEN).expand(60, -1, -1, -1)
    views = augment(squares, EVEN, Augmentation(**{**OFF, "flips": True}), torch.arange(60))
    plain = centre_images(squares[:1], EVEN)[0]
    flips = [plain, plain.flip(-1), plain.flip(-2), plain.flip(-1, -2)]
    found = [[bool((view - flip).abs().max() < 1e-4) for flip in flips] for view in views]
    counts = np.array(found).sum(axis=0)
    assert counts.sum() == 60
    assert (counts > 5).all()


def test_the_angles_cover_the_circle() -> None:
    squares = blob(EVEN, 6, 0).expand(120, -1, -1, -1)
    views = augment(squares, EVEN, Augmentation(**{**OFF, "rotation": True}), torch.arange(120))
    places = np.array([centre_of_darkness(view) for view in views])
    np.testing.assert_allclose(np.hypot(*places.T), 6, atol=0.15)
    sectors = np.histogram(np.arctan2(*places.T), bins=6, range=(-np.pi, np.pi))[0]
    assert (sectors > 8).all()


def test_only_the_stain_changes_the_mean_color() -> None:
    flat = torch.full((16, EVEN.side, EVEN.side, 3), 140, dtype=torch.uint8)
    flat[..., 2] = 190
    every_move = {"rotation": True, "flips": True, "shift": 0.1, "scale": 0.2}
    moved = augment(flat, EVEN, Augmentation(**{**OFF, **every_move}), torch.arange(16))
    plain = centre_images(flat, EVEN)
    torch.testing.assert_close(moved, plain, rtol=0, atol=1e-6)
    stained = augment(flat, EVEN, Augmentation(**{**OFF, "stain": 0.2}), torch.arange(16))
    change = (stained - plain).mean(dim=(2, 3))
    assert (change.abs().amax(dim=1) > 0.01).all()
    hue = (change[:, 0] - change[:, 2]).abs()
    assert (hue > 0.01).float().mean() > 0.7  # not brightness alone


@hypothesis_settings(deadline=None, max_examples=30)
@given(
    seeds=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=9),
    cut=st.integers(1, 8),
    beyond=st.sampled_from(("reflection", "background")),
)
def test_a_seed_gives_the_same_bits_in_any_company(seeds: list[int], cut: int, beyond: Beyond) -> None:
    made = replace(ODD, beyond=beyond)
    settings = Augmentation(
        shift=0.1, scale=0.2, stain=0.3, mixing=0.2, tone=1.0, redness=1.0, blur=0.05, noise=0.1, cut=0.5
    )
    squares, numbers = noise(len(seeds), ODD), torch.tensor(seeds, dtype=torch.int64)
    torch.manual_seed(len(seeds))
    together = augment(squares, made, settings, numbers)
    order = torch.randperm(len(seeds))
    parts = [augment(squares[part], made, settings, numbers[part]) for part in order.split(cut)]
    assert torch.equal(torch.cat(parts), together[order])


def test_neighboring_seeds_and_samples_are_unrelated() -> None:
    squares = noise(1, ODD).expand(300, -1, -1, -1)
    views = augment(squares, ODD, Augmentation(**{**OFF, "stain": 1.0}), torch.arange(-150, 150))
    means = views.mean(dim=(2, 3)).double().numpy()
    assert len(np.unique(means[:, 0])) == 300
    assert np.abs(np.corrcoef(means.T) - np.eye(3)).max() < 0.25
    assert abs(np.corrcoef(means[1:, 0], means[:-1, 0])[0, 1]) < 0.2


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    augment(noise(2, EVEN), EVEN, Augmentation(stain=0.2), torch.arange(2))
    assert torch.equal(torch.get_rng_state(), before)


def test_half_of_the_views_are_cut_down_to_a_box_about_the_cell() -> None:
    squares = noise(1, EVEN).expand(400, -1, -1, -1)
    plain = centre_images(squares[:1], EVEN)[0].numpy()
    views = augment(squares, EVEN, Augmentation(**{**OFF, "cut": 0.5}), torch.arange(400)).numpy()
    sides = []
    for view in views:
        kept = (view == plain).all(axis=0)
        rows, columns = (np.flatnonzero(kept.any(axis=axis)) for axis in (1, 0))
        assert kept[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        np.testing.assert_array_equal(rows, 23 - rows[::-1])  # the middle stays the middle
        around = view[:, ~kept]
        if around.size:
            inside = view[:, kept]
            np.testing.assert_array_equal(around, np.broadcast_to(around[:, :1], around.shape))
            assert (around[:, 0] > np.quantile(inside, 0.85, axis=1)).all()  # pale as the background is
        sides.append((len(rows), len(columns)))
    whole = np.mean([side == (24, 24) for side in sides])
    assert 0.5 < whole < 0.7  # a box wider than the view cuts nothing that is seen
    assert min(map(min, sides)) == 12
    assert sum(height != width for height, width in sides) > 100


def test_beyond_the_square_lies_its_background() -> None:
    settings = replace(EVEN, beyond="background")
    square = blob(settings, 0, 0)
    square[..., 0] = 255 - square[..., 0] // 2  # another color in red: 128 where it was white, and palest in the dot
    small = sample_views(square, settings, np.eye(2)[None] * 3, np.zeros((1, 2)))[0].numpy()
    known = sample_views(square, EVEN, np.eye(2)[None] * 3, np.zeros((1, 2)))[0].numpy()
    inside = slice(8, 16)  # of 24 pixels the square, 32 pixels wide, takes the middle third and a little more
    np.testing.assert_allclose(small[:, inside, inside], known[:, inside, inside], atol=1e-6)
    glass = background_color(square.numpy()) / np.float32(255)
    np.testing.assert_allclose(small[:, :5], np.broadcast_to(glass[:, None, None], (3, 5, 24)), atol=1e-6)
    assert known[0, :5].max() > 0.9 > small[0, :5].max()  # by reflection there were more dots


def test_a_smaller_grid_shows_the_same_field_without_aliasing(real_cells: torch.Tensor) -> None:
    half = centre_images(real_cells, EVEN, grid=12)
    pooled = torch.nn.functional.avg_pool2d(centre_images(real_cells, EVEN), 2)
    torch.testing.assert_close(half, pooled, rtol=0, atol=1e-4)
    stripes = torch.zeros((1, EVEN.side, EVEN.side, 3), dtype=torch.uint8)
    stripes[:, :, ::2] = 200
    grey = centre_images(stripes, EVEN, grid=12)
    assert (grey - 100 / 255).abs().max() < 1e-3
    settings = Augmentation(shift=0.1, scale=0.1, stain=0.1)
    fine = augment(real_cells, EVEN, settings, torch.tensor([4, 9]))
    coarse = augment(real_cells, EVEN, settings, torch.tensor([4, 9]), grid=16)
    assert coarse.shape == (2, 3, 16, 16)
    assert (torch.nn.functional.interpolate(fine, 16, mode="area") - coarse).abs().mean() < 0.03


def test_an_empty_batch_gives_an_empty_batch() -> None:
    empty = torch.zeros((0, EVEN.side, EVEN.side, 3), dtype=torch.uint8)
    views = augment(empty, EVEN, Augmentation(stain=0.1), torch.zeros(0, dtype=torch.int64))
    assert views.shape == (0, 3, EVEN.grid, EVEN.grid)


@pytest.mark.parametrize(
    "wrong",
    [
        {"shift": -0.1},
        {"shift": 0.6},
        {"scale": 1.0},
        {"scale": -0.1},
        {"stain": 1.5},
        {"stain": float("nan")},
        {"mixing": -0.1},
        {"mixing": 1.5},
        {"blur": 0.2},
        {"blur": float("nan")},
        {"tone": -0.1},
        {"tone": 5.0},
        {"redness": -0.1},
        {"redness": 3.5},
        {"levels": -0.1},
        {"levels": 1.5},
        {"noise": 0.6},
        {"cut": 1.1},
        {"cut": float("nan")},
        {"mild": 1.1},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Augmentation(**wrong)


def test_what_does_not_fit_is_refused_with_its_shape() -> None:
    squares, seeds = noise(2, EVEN), torch.arange(2)
    with pytest.raises(UsageError, match=r"\[B, 31, 31, 3\].*\[2, 32, 32, 3\]"):
        augment(squares, ODD, Augmentation(), seeds)
    with pytest.raises(UsageError, match="uint8"):
        centre_images(squares.float(), EVEN)
    with pytest.raises(UsageError, match=r"int64 \[2\]"):
        augment(squares, EVEN, Augmentation(), torch.arange(3))
    with pytest.raises(UsageError, match="int64"):
        augment(squares, EVEN, Augmentation(), seeds.float())
    for grid in (1, 25):
        with pytest.raises(UsageError, match=f"grid {grid}"):
            augment(squares, EVEN, Augmentation(), seeds, grid=grid)
