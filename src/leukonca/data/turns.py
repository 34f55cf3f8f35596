"""The eight ways to turn and mirror a square: a cell looks as likely in each of them."""

import numpy as np
from numpy.typing import NDArray

WAYS = 8


def turn(squares: NDArray[np.uint8], way: int) -> NDArray[np.uint8]:
    """Squares in one of the eight ways: turned by so many quarter turns, from the fifth way on mirrored first.

    Args:
        squares: uint8 [..., side, side, 3].
        way: 0 is as they are; counted on beyond 7 they begin again.

    Returns:
        uint8 [..., side, side, 3]; a view where it can be.
    """
    if way // 4 % 2:
        squares = squares[..., ::-1, :]
    return np.rot90(squares, way % 4, axes=(-3, -2))
