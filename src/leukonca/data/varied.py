"""How the runs of a varied prediction see a cell: each turned, mirrored, larger or smaller than the others see it.

The field calls it test-time augmentation. A cell looks as likely in each of the eight ways to turn and mirror a square,
and an image's scale is never known exactly, least of all where it is guessed.
"""

import numpy as np
from numpy.typing import NDArray

from leukonca.data.preprocessing import Preprocessing, centre_view, sized_view

WAYS = 8
"""To turn and mirror a square."""

SIZES = (1.0, 0.85, 1.18)
"""How large the cell is shown, in turn; chosen on validation images (docs/uncertainty.md)."""

VIEWS = WAYS * len(SIZES)
"""No two of so many runs see the same: the two numbers have no common divisor."""


def varied_view(squares: NDArray[np.uint8], settings: Preprocessing, run: int) -> NDArray[np.uint8]:
    """What one of several runs sees.

    Args:
        squares: with their margins, uint8 [B, side, side, 3].
        settings: how they were made.
        run: counted from 0, which sees them as they are; from `VIEWS` on they begin again.

    Returns:
        uint8 [B, grid, grid, 3].
    """
    size = SIZES[run % len(SIZES)]
    return turn(centre_view(squares, settings) if size == 1 else sized_view(squares, settings, size), run)


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
