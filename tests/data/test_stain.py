from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from leukonca.data.colors import stretched_statistics
from leukonca.data.stain import Levels, Stretched, stained, stretch

STRETCHED = get_args(Stretched)


def picture(seed: int = 0) -> np.ndarray:
    """Pale ground and a darker middle, none of it near black or white, float32 [1, 3, 20, 20]."""
    rng = np.random.default_rng(seed)
    image = rng.uniform(0.7, 0.75, (1, 3, 20, 20))
    image[:, :, 6:14, 6:14] = rng.uniform(0.3, 0.4, (1, 3, 8, 8))
    return image.astype(np.float32)


def test_ground_becomes_0_and_nucleus_1_by_the_percentiles_of_their_densities() -> None:
    image = picture()
    density = -np.log(image[0].astype(np.float64))
    result = stretch(image, "stretched")[0]
    for color in range(2):
        low, high = np.percentile(density[color], [5, 95])
        np.testing.assert_allclose(result[color], (density[color] - low) / (high - low), atol=1e-5)
    np.testing.assert_allclose(result[2], result[1] - result[0], atol=1e-6)
    assert abs(result[:2, 0].mean()) < 0.1 < 0.8 < result[:2, 8:12, 8:12].mean()


@given(
    strength=hnp.arrays(np.float32, 3, elements=st.floats(0.5, 1.5, width=32)),
    tint=hnp.arrays(np.float32, 3, elements=st.floats(0.625, 1, width=32)),
)
@settings(deadline=None)
def test_neither_strength_of_stain_nor_tint_of_light_matters(strength: np.ndarray, tint: np.ndarray) -> None:
    image = picture()
    other = tint[:, None, None] * image ** strength[:, None, None]  # Beer-Lambert
    np.testing.assert_allclose(stretch(other.astype(np.float32), "stretched"), stretch(image, "stretched"), atol=2e-3)


def test_lightness_is_the_cube_root_of_light() -> None:
    image = picture()
    light = image[0].astype(np.float64) ** 2.2  # what a file's values stand for
    result = stretch(image, "lightness")[0]
    for color in range(2):
        dark, pale = np.percentile(np.cbrt(light[color]), [5, 95])
        np.testing.assert_allclose(result[color], (pale - np.cbrt(light[color])) / (pale - dark), atol=1e-5)
    np.testing.assert_allclose(result[2], result[1] - result[0], atol=1e-6)


@given(tint=hnp.arrays(np.float32, 3, elements=st.floats(0.625, 1, width=32)))
@settings(deadline=None)
def test_of_lightness_the_tint_of_light_does_not_matter(tint: np.ndarray) -> None:
    image = picture()
    np.testing.assert_allclose(
        stretch(tint[:, None, None] * image, "lightness"), stretch(image, "lightness"), atol=2e-3
    )


def test_a_veil_moves_middle_tones_of_lightness_a_third_as_far_as_those_of_density() -> None:
    image = np.full((1, 3, 20, 20), 0.9, np.float32)
    image[:, :, :6], image[:, :, 6:10], image[:, :, 10:14] = 0.15, 0.4, 0.7  # nucleus, granules, cytoplasm
    other = np.float32(0.35) + np.float32(0.65) * image
    density, lightness = (
        (stretch(other, stain) - stretch(image, stain))[0, 0, [7, 11], 0] for stain in ("stretched", "lightness")
    )
    assert density.min() > 0.05
    assert lightness.min() > 0
    assert (lightness < density / 3).all()


@pytest.mark.parametrize("stain", STRETCHED)
def test_blue_does_not_count(stain: Stretched) -> None:
    image, other = picture(), picture()
    other[:, 2] = 0.5
    np.testing.assert_array_equal(stretch(image, stain), stretch(other, stain))


@given(
    image=hnp.arrays(np.float32, (2, 3, 5, 6), elements=st.floats(0, 1, width=32)),
    stain=st.sampled_from(STRETCHED),
)
@settings(deadline=None)
def test_values_stay_within_bounds_and_images_do_not_touch_each_other(image: np.ndarray, stain: Stretched) -> None:
    result = stretch(image, stain)
    assert result.dtype == np.float32
    assert result.shape == image.shape
    assert result[:, :2].min() >= -0.5
    assert result[:, :2].max() <= 1.5
    np.testing.assert_array_equal(result[:1], stretch(image[:1], stain))


@pytest.mark.parametrize("stain", STRETCHED)
def test_a_blank_image_stays_blank(stain: Stretched) -> None:
    rng = np.random.default_rng(0)
    noise = (200 + rng.integers(-1, 2, (1, 3, 40, 40))).astype(np.float32) / 255
    assert np.ptp(stretch(noise, stain)[:, :2]) < 0.3


@pytest.mark.parametrize("stain", STRETCHED)
def test_other_levels_scale_and_move_each_color_and_their_difference_follows(stain: Stretched) -> None:
    images = np.concatenate([picture(0), picture(1)])
    gain, offset = np.float32([[0.9, 1.1], [1.0, 3.0]]), np.float32([[0.02, -0.03], [0.0, 0.0]])
    plain, changed = stretch(images, stain), stretch(images, stain, Levels(gain, offset))
    wanted = np.clip(plain[:, :2] * gain[..., None, None] + offset[..., None, None], -0.5, 1.5)
    np.testing.assert_allclose(changed[:, :2], wanted, atol=1e-6)
    np.testing.assert_allclose(changed[:, 2], wanted[:, 1] - wanted[:, 0], atol=1e-6)
    assert changed[1, 1].max() == 1.5
    np.testing.assert_array_equal(stained(images, stain, Levels(gain, offset)), changed)
    np.testing.assert_array_equal(stained(images, "plain", Levels(gain, offset)), images)


def test_the_name_of_a_treatment() -> None:
    image = picture()
    np.testing.assert_array_equal(stained(image, "plain"), image)
    for stain in STRETCHED:
        np.testing.assert_array_equal(stained(image, stain), stretch(image, stain))
    assert not np.allclose(stained(image, "stretched"), stained(image, "lightness"), atol=0.01)


@pytest.mark.parametrize("stain", STRETCHED)
def test_statistics_are_those_of_stretched_images(stain: Stretched) -> None:
    images = np.random.default_rng(0).integers(0, 256, (700, 6, 5, 3), dtype=np.uint8)
    indices = np.arange(1, 700, 3)
    values = stretch(images[indices].transpose(0, 3, 1, 2).astype(np.float32) / 255, stain).transpose(1, 0, 2, 3)
    mean, std = stretched_statistics(images, indices, stain)
    np.testing.assert_allclose(mean, values.reshape(3, -1).mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(std, values.reshape(3, -1).std(axis=1), atol=1e-5)
