"""Corruptions against scikit-image, SciPy, Pillow and the formulas of optics."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage.color import combine_stains, hed_from_rgb, rgb_from_hed, separate_stains
from skimage.metrics import peak_signal_noise_ratio
from skimage.transform import rescale

from leukonca.data.preprocessing import Preprocessing
from leukonca.data.synthetic import synthetic_cells
from leukonca.errors import UsageError
from leukonca.evaluation.corruption import CORRUPTIONS, STRENGTHS, corrupt, find_corruptions, pixel_um

UM = 0.5
ISSUE = ("blur", "noise", "jpeg", "brighter", "contrast", "hue", "smaller", "larger", "dust")


@pytest.fixture(scope="module")
def squares() -> np.ndarray:
    return synthetic_cells("synthetic_cream", 1, 0, Preprocessing(48, margin=6, field_um=24.0), quiet=True)[0].images[
        :6
    ]


def gray(value: int, side: int = 64) -> np.ndarray:
    return np.full((1, side, side, 3), value, dtype=np.uint8)


def worse(squares: np.ndarray, kind: str, strength: int, seed: int = 0, um: float = UM) -> np.ndarray:
    return corrupt(squares, kind, strength, places=np.arange(len(squares)), um_per_pixel=um, seed=seed)


def test_every_kind_that_was_asked_for_is_there() -> None:
    assert set(ISSUE) <= set(CORRUPTIONS)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_no_strength_no_change_and_more_strength_more_change(squares: np.ndarray, kind: str) -> None:
    before = squares.copy()
    same = worse(squares, kind, 0)
    assert same.tobytes() == squares.tobytes()
    assert not np.shares_memory(same, squares)
    distance = []
    for strength in STRENGTHS:
        changed = worse(squares, kind, strength)
        assert changed.dtype == np.uint8
        assert changed.shape == squares.shape
        distance.append(np.mean((changed.astype(float) - squares) ** 2))
    assert distance[0] > 0
    assert np.all(np.diff(distance) > 0), distance
    assert squares.tobytes() == before.tobytes()


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_an_image_changes_alike_in_any_batch(squares: np.ndarray, kind: str) -> None:
    places = np.array([7, 3, 2**40, 3, 0, 11])
    whole = corrupt(squares, kind, 4, places=places, um_per_pixel=UM, seed=9)
    for i in (4, 1, 2):
        alone = corrupt(squares[i : i + 1], kind, 4, places=places[i : i + 1], um_per_pixel=UM, seed=9)
        assert alone[0].tobytes() == whole[i].tobytes()
    turned = corrupt(squares[::-1], kind, 4, places=places[::-1].copy(), um_per_pixel=UM, seed=9)
    assert turned[::-1].tobytes() == whole.tobytes()


@pytest.mark.parametrize("kind", ["noise", "dust"])
def test_what_is_random_follows_from_place_and_seed(kind: str) -> None:
    same = np.repeat(gray(128), 4, axis=0)
    first = corrupt(same, kind, 5, places=np.array([0, 1, 2, 0]), um_per_pixel=UM)
    assert first[0].tobytes() == first[3].tobytes()
    assert len({image.tobytes() for image in first}) == 3
    assert worse(same, kind, 5, seed=1).tobytes() != worse(same, kind, 5).tobytes()


@pytest.mark.parametrize(("strength", "um"), [(1, 0.5), (3, 0.25), (5, 0.5625)])
def test_blur_has_its_sigma_in_um(squares: np.ndarray, strength: int, um: float) -> None:
    sigma = CORRUPTIONS["blur"].values[strength - 1] / um
    expected = np.stack([ndimage.gaussian_filter(c, sigma) for c in squares[0].astype(float).transpose(2, 0, 1)], -1)
    np.testing.assert_allclose(worse(squares[:1], "blur", strength, um=um)[0], expected, atol=0.501)
    # A bright point spreads to the second moment of its Gaussian: sigma squared along each axis.
    point = gray(0)
    point[0, 32, 32] = 255
    seen = worse(point, "blur", strength, um=um)[0, :, :, 0].astype(float)
    if seen.max() > 20:  # wider ones round away in eight bits
        along = (np.arange(64) - 32) * um
        spread = np.sqrt((seen.sum(axis=0) * along**2).sum() / seen.sum())
        assert spread == pytest.approx(sigma * um, rel=0.12)


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("um", [0.5, 1.0])
def test_noise_has_the_signal_to_noise_ratio_of_its_sigma(strength: int, um: float) -> None:
    sigma = CORRUPTIONS["noise"].values[strength - 1] * 0.5 / um
    noisy = worse(gray(128, 128), "noise", strength, um=um)
    expected = 10 * np.log10(255**2 / (sigma**2 + 1 / 12))  # rounding adds a twelfth
    assert peak_signal_noise_ratio(gray(128, 128), noisy) == pytest.approx(expected, abs=0.15)
    pixels = noisy.astype(float) - 128
    assert abs(pixels.mean()) < 4 * sigma / np.sqrt(pixels.size)
    assert abs(np.mean(pixels[..., 0] * pixels[..., 1])) < 4 * sigma**2 / np.sqrt(pixels.size / 3)


@pytest.mark.parametrize("strength", STRENGTHS)
def test_jpeg_is_that_of_pillow(squares: np.ndarray, strength: int) -> None:
    file = io.BytesIO()
    Image.fromarray(squares[2]).save(file, "JPEG", quality=CORRUPTIONS["jpeg"].values[strength - 1])
    with Image.open(file) as image:
        assert np.array_equal(worse(squares, "jpeg", strength)[2], np.asarray(image))


@pytest.mark.parametrize("strength", STRENGTHS)
def test_light_and_stain_follow_beer_and_lambert(strength: int) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)

    def density(values: np.ndarray) -> np.ndarray:
        return -np.log10(values[0, :, :, 0].astype(float).ravel()[64:250] / 255)

    before = density(levels)
    for kind in ("pale", "dense"):  # a stain's amount multiplies density
        factor = CORRUPTIONS[kind].values[strength - 1]
        after = worse(levels, kind, strength)
        rounding = 0.5 / np.log(10) / np.maximum(255 * 10 ** (-before * factor) - 0.5, 0.5)
        assert np.all(np.abs(density(np.maximum(after, 1)) - factor * before) <= rounding + 1e-9)
        assert after[0, 15, 15, 0] == 255  # an empty field stays white
        assert after[0, 0, 0, 0] == 0
    factor = CORRUPTIONS["darker"].values[strength - 1]  # a weaker lamp adds to density
    after = worse(levels, "darker", strength)
    np.testing.assert_allclose(density(after) - before, -np.log10(factor), atol=0.012)
    bright = worse(levels, "brighter", strength)[0, :, :, 0].ravel()
    assert np.array_equal(
        bright, [min(255, round(v * CORRUPTIONS["brighter"].values[strength - 1])) for v in range(256)]
    )


def test_contrast_keeps_the_mean_and_scales_the_spread(squares: np.ndarray) -> None:
    for strength in STRENGTHS:
        after = worse(squares, "contrast", strength)[0].astype(float)
        before = squares[0].astype(float)
        np.testing.assert_allclose(after.mean(axis=(0, 1)), before.mean(axis=(0, 1)), atol=0.1)
        share = CORRUPTIONS["contrast"].values[strength - 1]
        np.testing.assert_allclose(after.std(axis=(0, 1)), share * before.std(axis=(0, 1)), rtol=0.02, atol=0.1)


def test_hue_moves_the_two_stains_of_scikit_image_apart() -> None:
    # Made of the stains, so that scikit-image, which takes no negative amounts, can read them back.
    amounts = np.random.default_rng(0).uniform(0.02, 0.05, (6, 8, 8, 3)) * [2.0, 2.0, 1.0]
    squares = np.rint(combine_stains(amounts, rgb_from_hed) * 255).astype(np.uint8)
    before = separate_stains(squares / 255, hed_from_rgb).mean(axis=(1, 2))
    blue = 0
    for strength in STRENGTHS:
        after = separate_stains(worse(squares, "hue", strength) / 255, hed_from_rgb).mean(axis=(1, 2))
        change = np.log(after / before)  # [images, stains]
        shift = CORRUPTIONS["hue"].values[strength - 1]
        np.testing.assert_allclose(np.abs(change[:, :2]), shift, atol=0.05)
        np.testing.assert_allclose(change[:, 2], 0, atol=0.08)
        assert np.array_equal(np.sign(change[:, 0]), -np.sign(change[:, 1]))
        blue = int((change[:, 0] > 0).sum())
    assert 0 < blue < 6


@pytest.mark.parametrize("kind", ["smaller", "larger"])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_size_changes_about_the_center(kind: str, strength: int) -> None:
    factor = CORRUPTIONS[kind].values[strength - 1]
    y, x = np.mgrid[:96, :96] - 47.5
    disk = np.where(np.hypot(x, y) <= 20, 0, 255).astype(np.uint8)[None, :, :, None].repeat(3, axis=3)
    disk = worse(disk, "blur", 4)  # without an edge that resampling would soften
    after = worse(disk, kind, strength)[0, :, :, 0]
    dark = 1 - after / 255.0
    assert np.sqrt(dark[12:84, 12:84].sum() / np.pi) == pytest.approx(20 * factor, rel=0.03)
    assert abs((dark * x).sum()) / dark.sum() < 0.05
    assert abs((dark * y).sum()) / dark.sum() < 0.05


def test_smaller_agrees_with_scikit_image_and_shows_the_margins(squares: np.ndarray) -> None:
    side = squares.shape[1]
    after = worse(squares, "smaller", 2)[0].astype(float)  # factor 0.8
    small = rescale(squares[0].astype(float), 0.8, anti_aliasing=True, channel_axis=2)
    low = (side - small.shape[0]) // 2
    inner = after[low : low + len(small), low : low + len(small)]
    assert peak_signal_noise_ratio(small, inner, data_range=255) > 30
    np.testing.assert_allclose(after[:low], after[low : 2 * low][::-1], atol=30)  # reflected where they end


def test_dust_is_round_dark_and_as_large_as_it_says() -> None:
    for um, side in ((0.5, 120), (0.25, 240), (1.0, 60)):
        after = worse(gray(200, side), "dust", 1, seed=3, um=um)[0, :, :, 0]
        labels, count = ndimage.label(after < 120)
        assert 1 <= count <= 6
        whole = [
            s
            for s in ndimage.find_objects(labels)
            if min(s[0].start, s[1].start) > 0 and max(s[0].stop, s[1].stop) < side
        ]
        assert whole
        for speck in whole:
            height, width = (um * (part.stop - part.start) for part in speck)
            assert height == pytest.approx(width, abs=1.5 * um)
            assert 1.0 - um <= height <= 3.0 + 1.5 * um
        assert after.min() >= 200 * 0.15**2 - 1
        assert np.median(after) == 200


def test_dust_lies_alike_on_every_grid() -> None:
    fine = worse(gray(255, 240), "dust", 5, um=0.25)[0].astype(float)
    coarse = worse(gray(255, 48), "dust", 5, um=0.5)[0].astype(float)  # the middle 24 um
    middle = fine[72:168, 72:168].reshape(48, 2, 48, 2, 3).mean(axis=(1, 3))
    assert np.abs(middle - coarse).mean() < 3
    assert (coarse < 128).any()


def test_the_size_of_a_pixel() -> None:
    assert pixel_um(Preprocessing(48, margin=7, field_um=27.0), 36.0) == 0.5625
    assert pixel_um(Preprocessing(64), 32.0) == 0.5
    assert pixel_um(Preprocessing(60, field_um=12.0), None) == 0.5  # the whole image, of unknown size
    assert pixel_um(Preprocessing(60, field_um=12.0, nucleus_um=8.0), None) == 0.2  # cut by its nucleus


def test_wrong_calls_say_what_is_wrong(squares: np.ndarray) -> None:
    with pytest.raises(UsageError, match="'fog': there are blur, noise"):
        find_corruptions(["blur", "fog"])
    with pytest.raises(UsageError, match="strength 6"):
        worse(squares, "blur", 6)
    with pytest.raises(UsageError, match="float64"):
        worse(squares / 255, "blur", 1)
    with pytest.raises(UsageError, match=r"places \[2\]"):
        corrupt(squares, "blur", 1, places=np.arange(2), um_per_pixel=0.5)
    with pytest.raises(UsageError, match="um_per_pixel"):
        worse(squares, "blur", 1, um=0.0)
    assert [kind.name for kind in find_corruptions(["dust", "blur", "dust"])] == ["dust", "blur"]
    assert tuple(kind.name for kind in find_corruptions()) == tuple(CORRUPTIONS)
