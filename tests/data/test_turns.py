import numpy as np
import pytest

from leukonca.data.turns import WAYS, turn


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
