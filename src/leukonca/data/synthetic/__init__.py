"""SYNTHETIC cells: invented images of the 13 classes in three invented centers, with true outlines.

They exist for trying the program and for testing it. They are not real cells: no result on them says anything about
blood, and whatever shows one says so.
"""

from leukonca.data.synthetic.generator import (
    SYNTHETIC_CENTERS,
    SYNTHETIC_IMAGE_UM,
    draw_cell,
    synthetic_cells,
    write_synthetic,
)

__all__ = [
    "SYNTHETIC_CENTERS",
    "SYNTHETIC_IMAGE_UM",
    "SYNTHETIC_NOTE",
    "draw_cell",
    "synthetic_cells",
    "write_synthetic",
]

SYNTHETIC_NOTE = "Synthetic cells: for trying, says nothing about real cells"
"""Stands wherever results on synthetic cells are shown, or those of a model that was trained on them."""
