import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from leukonca.data.images import read_image
from leukonca.data.preprocessing import Preprocessing, centre_view, preprocess, scale_of
from leukonca.errors import UsageError

RNG = np.random.default_rng(0)


def random_image(height: int, width: int) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def resize(image: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR))


def test_the_paper_takes_the_whole_image_whatever_its_shape():
    image = random_image(363, 360)
    np.testing.assert_array_equal(preprocess(image, Preprocessing(64), 36.0), resize(image, 64))


def test_without_a_known_field_the_whole_image_is_used():
    image = random_image(40, 50)
    np.testing.assert_array_equal(preprocess(image, Preprocessing(16, field_um=20.0), None), resize(image, 16))


def test_a_field_is_cut_around_the_centre():
    image = random_image(80, 80)  # 40 um, to be shown at 1 pixel per um
    cut = preprocess(image, Preprocessing(20, field_um=20.0), 40.0)
    np.testing.assert_array_equal(cut, resize(image, 40)[10:30, 10:30])


def test_the_shorter_side_sets_the_scale():
    image = random_image(80, 120)
    cut = preprocess(image, Preprocessing(20, field_um=20.0), 40.0)
    np.testing.assert_array_equal(cut, resize(image[:, 20:100], 40)[10:30, 10:30])


def test_margins_show_real_surroundings_at_the_same_scale():
    image = random_image(80, 80)
    wide = preprocess(image, Preprocessing(20, margin=5, field_um=20.0), 40.0)
    assert wide.shape == (30, 30, 3)
    np.testing.assert_array_equal(wide, resize(image, 40)[5:35, 5:35])


def test_beyond_its_edges_an_image_is_reflected():
    image = random_image(40, 40)  # 20 um; 30 um wanted: 10 more pixels on every side
    wide = preprocess(image, Preprocessing(60, field_um=30.0), 20.0)
    mirrored = np.pad(image, ((10, 10), (10, 10), (0, 0)), mode="symmetric")
    np.testing.assert_array_equal(wide, mirrored)
    with_margin = preprocess(image, Preprocessing(40, margin=10), None)
    np.testing.assert_array_equal(with_margin, mirrored)


def test_beyond_its_edges_an_image_can_have_its_background():
    image = random_image(40, 40)
    image[:30] = [210, 200, 220]
    wide = preprocess(image, Preprocessing(60, field_um=30.0, beyond="background"), 20.0)
    np.testing.assert_array_equal(wide[10:50, 10:50], image)
    around = np.ones((60, 60), bool)
    around[10:50, 10:50] = False
    assert np.unique(wide[around], axis=0).shape == (1, 3)
    known = np.percentile(image.reshape(-1, 3), 95, axis=0, method="inverted_cdf")
    np.testing.assert_array_equal(wide[0, 0], known)
    same = preprocess(image, Preprocessing(20, field_um=10.0, beyond="background"), 20.0)
    np.testing.assert_array_equal(same, preprocess(image, Preprocessing(20, field_um=10.0), 20.0))


def test_the_same_cell_at_two_resolutions_gives_the_same_square():
    def cell(side: int) -> np.ndarray:
        y, x = (np.mgrid[:side, :side] + 0.5) / side * 36.0 - 18.0
        inside = 1 / (1 + np.exp(np.hypot(x - 2, y + 1) - 6))
        return np.round(230 - 150 * inside[..., None] * np.array([0.6, 1.0, 0.3])).astype(np.uint8)

    settings_ = Preprocessing(32, margin=4, field_um=26.0)
    fine, coarse = (preprocess(cell(side), settings_, 36.0).astype(int) for side in (360, 128))
    assert np.abs(fine - coarse).max() <= 4


def test_resized_copies_give_nearly_the_squares_of_their_originals(shared_data):
    settings_ = Preprocessing(48, margin=6, field_um=28.0)
    for path in sorted((shared_data / "acevedo20-originals").glob("*/[BMS]*.jpg"))[::6]:
        original, resized = (
            preprocess(np.asarray(Image.open(folder / path.parent.name / path.name)), settings_, 36.0).astype(int)
            for folder in (shared_data / "acevedo20-originals", shared_data / "acevedo20")
        )
        assert np.abs(original - resized).mean() < 4


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(8, 70),
    width=st.integers(8, 70),
    grid=st.integers(2, 40),
    margin=st.integers(0, 10),
    field=st.none() | st.floats(5, 50),
    shown=st.none() | st.floats(20, 60),
    level=st.integers(0, 255),
)
def test_any_image_gives_one_square_and_a_plain_one_stays_plain(height, width, grid, margin, field, shown, level):
    settings_ = Preprocessing(grid, margin=min(margin, grid), field_um=field)
    square = preprocess(np.full((height, width, 3), level, np.uint8), settings_, shown)
    assert square.shape == (settings_.side, settings_.side, 3)
    assert square.dtype == np.uint8
    assert (square == level).all()


def test_centre_view_cuts_the_margins_off():
    squares = RNG.integers(0, 256, (3, 14, 14, 3), dtype=np.uint8)
    np.testing.assert_array_equal(centre_view(squares, Preprocessing(10, margin=2)), squares[:, 2:12, 2:12])
    np.testing.assert_array_equal(centre_view(squares, Preprocessing(14)), squares)


@pytest.mark.parametrize("wrong", [{"grid": 1}, {"grid": 8, "margin": -1}, {"grid": 8, "field_um": 0.0}])
def test_settings_that_describe_no_square(wrong):
    with pytest.raises(UsageError, match="grid >= 2"):
        Preprocessing(**wrong)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"stain": "pink"}, "plain, stretched"),
        ({"beyond": "black"}, "reflection, background"),
        ({"nucleus_um": 9.0}, "field_um"),
        ({"nucleus_um": -1.0}, "positive"),
    ],
)
def test_treatments_that_are_none(wrong, told):
    with pytest.raises(UsageError, match=told):
        Preprocessing(8, **wrong)


def test_only_settings_that_are_set_are_facts():
    assert Preprocessing(8).facts() == {"grid": 8}
    assert Preprocessing(8, 2, 20.0, "stretched").facts() == {
        "grid": 8,
        "margin": 2,
        "field_um": 20.0,
        "stain": "stretched",
    }


GUESSING = Preprocessing(48, field_um=22.0, nucleus_um=9.9)


def nucleus(side, share):
    """A dark disk, this share of the side wide, in the middle of a pale square."""
    y, x = np.indices((side, side)) - (side - 1) / 2
    image = np.full((side, side, 3), 230, np.uint8)
    image[np.hypot(y, x) <= share * side / 2] = (90, 40, 120)
    return image


def test_a_known_scale_is_never_guessed():
    assert scale_of(nucleus(100, 0.3), GUESSING, 36.0) == 36.0
    assert scale_of(nucleus(100, 0.3), Preprocessing(48, field_um=22.0), None) is None


@pytest.mark.parametrize("side", [64, 120, 363])
@pytest.mark.parametrize("share", [0.25, 0.4, 0.6])
def test_an_unknown_scale_makes_the_nucleus_a_usual_one(side, share):
    assert scale_of(nucleus(side, share), GUESSING, None) == pytest.approx(9.9 / share, rel=0.04)


@pytest.mark.parametrize(("share", "um"), [(0.05, 44.0), (0.92, 11.0)])
def test_a_guess_stays_within_what_a_field_can_be(share, um):
    assert scale_of(nucleus(200, share), GUESSING, None) == um


def test_without_a_nucleus_the_image_is_taken_for_the_field():
    assert scale_of(np.full((50, 60, 3), 200, np.uint8), GUESSING, None) == 22.0


def test_the_scale_of_real_cells_is_guessed_within_a_third(shared_data):
    files = sorted((shared_data / "acevedo20-originals").rglob("*.jpg"))
    cells = [file for file in files if file.name.split("_")[0] in ("SNE", "BNE", "LY", "EO", "MO", "MY")]
    guesses = np.array([scale_of(read_image(file), GUESSING, None) for file in cells])
    assert len(guesses) == 48
    assert 30 < np.median(guesses) < 42  # each shows 36 um
    assert (np.abs(np.log(guesses / 36)) < np.log(4 / 3)).mean() > 0.6


def test_a_field_far_beyond_the_image_is_a_mistake():
    with pytest.raises(UsageError, match="check field_um and image_um"):
        preprocess(random_image(40, 40), Preprocessing(8, field_um=1000.0), 36.0)
