"""The parts that the figures of an explanation share: a cell's picture, scale bar, outlines, signed colors."""

from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from leukonca.drawing import INK

SIGNED = "PuOr_r"
"""Orange speaks for the class, purple against it. Told apart by the color-blind; in grey, lines tell: see `outline`."""

FOR, AGAINST = "#b35806", "#542788"
"""The ends of `SIGNED`, for lines and frames."""

_BARS = (1, 2, 5, 10, 20, 50)
"""Lengths of scale bars, um."""


def show(axes: Axes, pixels: NDArray[Any], **settings: Any) -> Any:
    """A raster on bare axes whose coordinates are those of the grid."""
    height, width = pixels.shape[:2]
    axes.set_axis_off()
    return axes.imshow(
        pixels, extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation="none", aspect="equal", **settings
    )


def grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image without its colors, pale, for colors to be laid on, [H, W, 3]."""
    light = image @ np.array([0.299, 0.587, 0.114])
    return np.repeat((140 + light * (115 / 255)).astype(np.uint8)[:, :, None], 3, axis=2)


def signed_limit(values: NDArray[Any], quantile: float = 1.0) -> float:
    """The largest size (or a quantile of it), for a color scale that is the same on both sides; never 0."""
    size = np.abs(values)
    return float(np.quantile(size, quantile)) or float(size.max()) or 1.0


def sign_colors(values: Any, limit: float) -> Any:
    """The colors of signed values; weak ones are pale, [..., 4]."""
    return matplotlib.colormaps[SIGNED](0.5 + 0.5 * np.clip(np.asarray(values) / limit, -1, 1))


def outline(axes: Axes, inside: NDArray[np.bool_], color: str, *, dashed: bool = False, width: float = 1.2) -> None:
    """The border of a region, along the edges of its cells; dashed lines speak against, also in a print in grey."""
    padded = np.pad(inside, 1)
    beside = np.argwhere(padded[:, 1:] != padded[:, :-1])  # a cell and its right neighbor differ
    below = np.argwhere(padded[1:] != padded[:-1])
    if not len(beside) + len(below):
        return
    upright = [((c - 0.5, r - 1.5), (c - 0.5, r - 0.5)) for r, c in beside.tolist()]
    level = [((c - 1.5, r - 0.5), (c - 0.5, r - 0.5)) for r, c in below.tolist()]
    ends = np.array(upright + level).reshape(-1, 2)
    border = Path(ends, np.tile([Path.MOVETO, Path.LINETO], len(ends) // 2))
    style: Any = (0, (1.5, 1.0)) if dashed else "-"
    axes.add_patch(PathPatch(border, fill=False, edgecolor="white", linewidth=width + 1.2, capstyle="round"))
    axes.add_patch(PathPatch(border, fill=False, edgecolor=color, linewidth=width, linestyle=style, capstyle="butt"))


def mask_lines(axes: Axes, mask: NDArray[np.uint8] | None) -> None:
    """Outlines of cell and nucleus, thin and dark, where a mask is known."""
    if mask is not None:
        outline(axes, mask > 0, INK, width=0.8)
        outline(axes, mask == mask.max(), INK, width=0.6)


def scale_bar(axes: Axes, side: int, um_per_pixel: float | None) -> None:
    """A bar of whole micrometers, at most two fifths of the width; none where the scale is unknown.

    Args:
        axes: that show an image of `side` pixels.
        side: of the image.
        um_per_pixel: what a pixel shows, um.
    """
    if um_per_pixel is None:
        return
    fitting = [um for um in _BARS if um <= 0.4 * side * um_per_pixel]
    if not fitting:
        return
    length = fitting[-1] / um_per_pixel
    left, top, thick = 0.04 * side - 0.5, 0.93 * side - 0.5, 0.02 * side
    axes.add_patch(Rectangle((left, top), length, thick, facecolor=INK, edgecolor="white", linewidth=0.7))
    label = axes.text(
        left + length / 2, top - 0.01 * side, f"{fitting[-1]} µm", ha="center", va="bottom", size=7, color=INK
    )
    label.set_path_effects([withStroke(linewidth=1.8, foreground="white")])


def cross(axes: Axes, row: float, column: float) -> None:
    """Marks the cell that won."""
    (mark,) = axes.plot(column, row, "+", color=INK, markersize=7, markeredgewidth=1.3)
    mark.set_path_effects([withStroke(linewidth=3, foreground="white")])
