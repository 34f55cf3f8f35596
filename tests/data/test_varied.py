from typing import get_args

import numpy as np
import pytest
from PIL import Image

from leukonca.data.background import Beyond, background_color
from leukonca.data.preprocessing import Preprocessing, centre_view, sized_view
from leukonca.data.varied import SIZES, VIEWS, WAYS, turn, varied_view

SETTINGS = Preprocessing(grid=40, margin=8)


def disk(settings: Preprocessing, radius: float) -> np.ndarray:
    """A dark disk in the middle of a bright square, its edge one pixel wide: uint8 [1, side, side, 3]."""
    away = np.hypot(*np.indices((settings.side, settings.side)) - (settings.side - 1) / 2)
    value = 220 - 180 * np.clip(radius - away + 0.5, 0, 1)
    return np.repeat(np.rint(value)[None, ..., None], 3, axis=-1).astype(np.uint8)


def test_the_eight_ways_are_the_symmetries_of_the_square() -> None:
    square = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    ways = [turn(square, way) for way in range(WAYS)]
    expected = [np.rot90(each, quarter) for each in (square, square[:, ::-1]) for quarter in range(4)]
    for way, other in zip(ways, expected, strict=True):
        np.testing.assert_array_equal(way, other)
    assert len({way.tobytes() for way in ways}) == WAYS


@pytest.mark.parametrize("way", [0, 3, 4, 7, 8, 13])
def test_many_squares_turn_as_one_does_and_the_ways_begin_again(way: int) -> None:
    squares = np.random.default_rng(0).integers(0, 256, (2, 3, 5, 5, 3), dtype=np.uint8)
    result = turn(squares, way)
    assert result.shape == squares.shape
    np.testing.assert_array_equal(result[1, 2], turn(squares[1, 2], way % WAYS))


def test_every_run_sees_something_else_until_all_views_were_had() -> None:
    squares = np.random.default_rng(0).integers(0, 256, (2, 56, 56, 3), dtype=np.uint8)
    views = [varied_view(squares, SETTINGS, run) for run in range(VIEWS + 2)]
    np.testing.assert_array_equal(views[0], centre_view(squares, SETTINGS))
    np.testing.assert_array_equal(views[3], np.rot90(views[0], 3, axes=(1, 2)))
    np.testing.assert_array_equal(views[1], np.rot90(sized_view(squares, SETTINGS, SIZES[1]), axes=(1, 2)))
    assert len({view.tobytes() for view in views[:VIEWS]}) == VIEWS == 24
    for run in range(2):
        np.testing.assert_array_equal(views[VIEWS + run], views[run])
    np.testing.assert_array_equal(varied_view(squares[1:], SETTINGS, 5)[0], views[5][1])


@pytest.mark.parametrize("size", SIZES)
def test_a_cell_is_shown_so_much_larger_in_the_same_place(size: float) -> None:
    shown = 220 - sized_view(disk(SETTINGS, 12), SETTINGS, size)[0, ..., 0].astype(float)
    assert shown.sum() / 180 == pytest.approx(np.pi * (12 * size) ** 2, rel=0.01)
    np.testing.assert_allclose(shown, shown[::-1, ::-1], atol=2)  # its middle stays in the middle
    assert sized_view(disk(SETTINGS, 12), SETTINGS, 1.0).tolist() == centre_view(disk(SETTINGS, 12), SETTINGS).tolist()


@pytest.mark.parametrize("beyond", get_args(Beyond))
def test_a_smaller_cell_shows_what_was_in_the_margin_and_the_continued_image_beyond_it(beyond: Beyond) -> None:
    squares = np.random.default_rng(3).integers(0, 256, (2, 56, 56, 3), dtype=np.uint8)
    with_margin = sized_view(squares, SETTINGS, 40 / 56)
    np.testing.assert_array_equal(
        with_margin[1], np.asarray(Image.fromarray(squares[1]).resize((40, 40), Image.Resampling.BILINEAR))
    )
    bare = Preprocessing(grid=56, beyond=beyond)  # no margin: 7 pixels on each side are not there
    for square, seen in zip(squares, sized_view(squares, bare, 56 / 70), strict=True):
        if beyond == "reflection":
            wide = np.pad(square, ((7, 7), (7, 7), (0, 0)), mode="symmetric")
        else:
            wide = np.full((70, 70, 3), background_color(square))
            wide[7:63, 7:63] = square
        by_hand = np.asarray(Image.fromarray(wide).resize((56, 56), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(seen, by_hand)
