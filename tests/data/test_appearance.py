import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from leukonca.data.augment import augment, centre_images
from leukonca.data.augmentation import Augmentation
from leukonca.data.chance import uniform
from leukonca.data.levels import levels_of
from leukonca.data.stain import HIGH, LOW

from .squares import EVEN, OFF, noise


def test_stain_follows_beer_and_lambert() -> None:
    ramp = torch.arange(1, 255).repeat(3).view(-1)
    square = torch.zeros((1, EVEN.side, EVEN.side, 3), dtype=torch.uint8) + 1
    square[0, ..., 1] = ramp[torch.arange(EVEN.side**2) % 254].view(EVEN.side, EVEN.side).to(torch.uint8)
    plain = centre_images(square, EVEN)[0, 1].double().numpy().ravel()
    seen = augment(square, EVEN, Augmentation(**{**OFF, "stain": 0.3}), torch.tensor([5]))[0, 1].double().numpy()
    kept = seen.ravel() < 1
    slope, offset = np.polyfit(-np.log(plain[kept]), -np.log(seen.ravel()[kept]), 1)
    assert np.exp(-0.3) < slope < np.exp(0.3)
    assert abs(slope - 1) > 0.01
    assert abs(offset) < 0.06
    line = np.exp(-(slope * -np.log(plain) + offset))
    np.testing.assert_allclose(seen.ravel(), np.clip(line, 0, 1), atol=1e-4)


def test_mixing_adds_to_each_density_a_part_of_the_two_others() -> None:
    rng = np.random.default_rng(2)
    square = torch.from_numpy(rng.integers(40, 256, (1, EVEN.side, EVEN.side, 3), dtype=np.uint8))
    density = -np.log(centre_images(square, EVEN)[0].double().numpy()).reshape(3, -1)
    seen = augment(square, EVEN, Augmentation(**{**OFF, "mixing": 0.4}), torch.tensor([7]))[0].double().numpy()
    for color in range(3):
        mixed = -np.log(seen[color].ravel())
        kept = mixed > 1e-6  # below nothing there is no density
        parts, residual, _, _ = np.linalg.lstsq(density[:, kept].T, mixed[kept], rcond=None)
        assert residual < 1e-6
        assert parts[color] == pytest.approx(1, abs=1e-4)
        others = np.delete(parts, color)
        assert (np.abs(others) < 0.4).all()
        assert (np.abs(others) > 0.001).all()


def test_blur_is_that_of_scipy_for_some_width_and_leaves_four_views_of_ten_sharp() -> None:
    squares = noise(1, EVEN).expand(200, -1, -1, -1)
    plain = centre_images(squares[:1], EVEN)[0].numpy()
    views = augment(squares, EVEN, Augmentation(**{**OFF, "blur": 0.1}), torch.arange(200)).numpy()
    sharp = np.abs(views - plain).max(axis=(1, 2, 3)) < 1e-6
    assert 0.3 < sharp.mean() < 0.5
    widths = np.linspace(0.02, 2.4, 120)
    known = [ndimage.gaussian_filter(plain, (0, s, s), mode="mirror", truncate=8 / s) for s in widths]
    nearest = [min(np.abs(view - blurred).max() for blurred in known) for view in views[~sharp][:20]]
    assert max(nearest) < 0.03
    spread = views[~sharp].std(axis=(1, 2, 3))
    assert spread.min() < 0.3 * plain.std() < 0.8 * plain.std() < spread.max()


def test_tone_moves_the_middle_of_each_color_between_its_two_ends() -> None:
    square = torch.from_numpy(np.random.default_rng(4).integers(30, 250, (1, EVEN.side, EVEN.side, 3), dtype=np.uint8))
    density = -np.log(centre_images(square, EVEN)[0].double().numpy()).reshape(3, -1)
    low, high = np.quantile(density, (LOW, HIGH), axis=1)[..., None]
    x = (density - low) / (high - low)
    factors = []
    for seed in range(40):
        seen = augment(square, EVEN, Augmentation(**{**OFF, "tone": 1.0}), torch.tensor([seed]))[0].double().numpy()
        y = (-np.log(seen).reshape(3, -1) - low) / (high - low)
        for color in range(3):
            order = np.argsort(x[color])
            assert (np.diff(y[color][order]) > -1e-5).all()  # what was darker stays so
            inside = (x[color] > 0.05) & (x[color] < 0.95)
            a, b = x[color][inside], y[color][inside]
            k = b * (1 - a) / (a * (1 - b))  # y = k x / (1 + (k - 1) x), solved for k
            np.testing.assert_allclose(k, np.median(k), rtol=1e-3)
            factors.append(np.median(k))
    assert 0.5 <= min(factors) < 0.6
    assert 1.7 < max(factors) <= 2
    assert len(set(np.round(factors, 4))) > 110  # each color has its own


def test_redness_moves_red_and_green_apart_or_together_about_their_mean() -> None:
    square = torch.from_numpy(np.random.default_rng(4).integers(60, 220, (1, EVEN.side, EVEN.side, 3), dtype=np.uint8))
    density = -np.log(centre_images(square, EVEN)[0].double().numpy())
    low, high = np.quantile(density.reshape(3, -1), (LOW, HIGH), axis=1)[:, :2, None, None]
    plain = (density[:2] - low) / (high - low)
    factors = []
    for seed in range(40):
        seen = augment(square, EVEN, Augmentation(**{**OFF, "redness": 0.7}), torch.tensor([seed]))[0].double().numpy()
        np.testing.assert_allclose(seen[2], np.exp(-density[2]), atol=1e-6)  # blue
        inside = (seen[:2] < 0.999).all(axis=0)  # no density is below 0
        x = (-np.log(seen[:2]) - low) / (high - low)
        np.testing.assert_allclose(x.mean(axis=0)[inside], plain.mean(axis=0)[inside], atol=1e-4)
        ratio = ((x[1] - x[0]) / (plain[1] - plain[0]))[inside & (np.abs(plain[1] - plain[0]) > 0.1)]
        assert np.ptp(ratio) < 0.01
        factors.append(np.log(ratio.mean()))
    assert -0.7 < min(factors) < -0.5
    assert 0.5 < max(factors) < 0.7


def test_levels_move_red_and_green_together_more_than_apart() -> None:
    seeds = np.arange(4000)
    gain, offset = levels_of(seeds, 0.2)
    assert gain.shape == offset.shape == (4000, 2)
    for moved, most in ((np.log(gain) / 0.2, 0.4), (offset / 0.06, 0.5)):
        assert np.abs(moved).max() <= (1 + most) * (1 + 1e-6)
        assert np.abs(moved.mean()) < 0.03
        # Uniform numbers have a variance of 1 / 3: a common one, and one of each color with `most` its width.
        np.testing.assert_allclose(np.cov(moved.T), (np.ones((2, 2)) + most**2 * np.eye(2)) / 3, atol=0.02)
    assert np.abs(np.corrcoef(gain[:, 0], offset[:, 0])[0, 1]) < 0.05
    np.testing.assert_array_equal(levels_of(seeds[7:9], 0.2).gain, gain[7:9])
    assert levels_of(seeds, 0.0) is None


def test_tone_leaves_both_ends_and_plain_views_alone() -> None:
    flat = torch.full((4, EVEN.side, EVEN.side, 3), 140, dtype=torch.uint8)
    settings = Augmentation(**{**OFF, "tone": 3.0})
    torch.testing.assert_close(augment(flat, EVEN, settings, torch.arange(4)), centre_images(flat, EVEN))
    two = flat.clone()
    two[:, :, :16] = 60
    torch.testing.assert_close(augment(two, EVEN, settings, torch.arange(4)), centre_images(two, EVEN))


def test_noise_is_gaussian_and_leaves_four_views_of_ten_clean() -> None:
    flat = torch.full((200, EVEN.side, EVEN.side, 3), 128, dtype=torch.uint8)
    views = augment(flat, EVEN, Augmentation(**{**OFF, "noise": 0.1}), torch.arange(200)).numpy() - 128 / 255
    spread = views.std(axis=(1, 2, 3))
    clean = spread < 1e-6
    assert 0.3 < clean.mean() < 0.5
    assert spread.max() < 0.105
    assert 0.04 < spread[~clean].mean() < 0.06
    strongest = views[spread.argmax()]
    assert stats.kstest(strongest.ravel() / spread.max(), "norm").pvalue > 0.01
    assert np.abs(np.corrcoef(strongest.reshape(3, -1)) - np.eye(3)).max() < 0.15
    noisy = np.flatnonzero(~clean)[:2]
    assert abs(np.corrcoef(views[noisy].reshape(2, -1))[0, 1]) < 0.1


@pytest.mark.parametrize("change", [{"noise": 0.4}, {"tone": 4.0}, {"redness": 3.0}, {"stain": 1.0, "mixing": 1.0}])
def test_colors_stay_between_black_and_white(change: dict[str, float]) -> None:
    views = augment(noise(30, EVEN), EVEN, Augmentation(**{**OFF, **change}), torch.arange(30))
    assert torch.isfinite(views).all()
    assert views.min() >= 0
    assert views.max() <= 1


FIFTH = [
    ({"scale": 0.5}, {"scale": 1.5**0.2 - 1}),
    ({"stain": 0.5, "mixing": 0.25}, {"stain": 0.1, "mixing": 0.05}),
    ({"tone": 3.0}, {"tone": 4**0.2 - 1}),
    ({"redness": 1.0}, {"redness": 0.2}),
    ({"blur": 0.1}, {"blur": 0.02}),
    ({"noise": 0.1}, {"noise": 0.02}),
    ({"cut": 0.3}, {"cut": 0.0}),
    ({"stain": 0.5, "shift": 0.2, "rotation": True}, {"stain": 0.1, "shift": 0.2, "rotation": True}),
]


@pytest.mark.parametrize(("strong", "weak"), FIFTH)
def test_mild_views_change_by_a_fifth_and_the_others_as_ever(strong: dict[str, float], weak: dict[str, float]) -> None:
    squares, seeds = noise(60, EVEN), torch.arange(60)

    def views(**changes: float) -> torch.Tensor:
        return augment(squares, EVEN, Augmentation(**{**OFF, **changes}), seeds)

    fifth = views(**weak)
    torch.testing.assert_close(views(**strong, mild=1.0), fifth, atol=1e-3, rtol=0)
    is_mild = uniform(seeds.numpy(), slots=1, first=30)[0] < 0.4
    assert 0.2 < is_mild.mean() < 0.6
    mixed, whole = views(**strong, mild=0.4), views(**strong)
    assert torch.equal(mixed[~is_mild], whole[~is_mild])
    torch.testing.assert_close(mixed[is_mild], fifth[is_mild], atol=1e-3, rtol=0)
    assert not torch.equal(mixed, whole)
