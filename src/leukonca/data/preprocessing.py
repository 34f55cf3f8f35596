"""From a decoded image to the square of pixels that an automaton sees, at one physical scale."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leukonca.data.background import Beyond, background_color
from leukonca.data.scale import nucleus_share
from leukonca.data.stain import Stain
from leukonca.errors import UsageError

WIDEST = 8
"""A field this many times as wide as the image is a mistake in its settings."""


@dataclass(frozen=True)
class Preprocessing:
    """How every image is cropped and resized; written into each cache and each model folder.

    Args:
        grid: side of the square that the automaton sees, pixels.
        margin: extra pixels kept on every side, so that a turned or shifted view shows real surroundings.
        field_um: side of the square that the automaton sees, um, around the image's centre.
            None: the whole image, whatever its shape, as in the paper.
        stain: what is done to a view's colors before they are normalised; see `leukonca.data.stain`. The squares
            themselves keep their colors.
        nucleus_um: diameter of a usual nucleus, um. Of an image whose scale nobody knows, so much is then taken that
            its nucleus has this size. None: the whole of such an image.
        beyond: how an image goes on where the field reaches beyond its edges.

    Raises:
        UsageError: a setting that describes no square.
    """

    grid: int
    margin: int = 0
    field_um: float | None = None
    stain: Stain = "plain"
    nucleus_um: float | None = None
    beyond: Beyond = "reflection"

    def __post_init__(self) -> None:
        if self.grid < 2 or self.margin < 0 or (self.field_um is not None and not self.field_um > 0):
            raise UsageError(f"{self}: needs grid >= 2, margin >= 0 and a positive field_um")
        if self.stain not in get_args(Stain):
            raise UsageError(f"stain {self.stain!r}: there are {', '.join(get_args(Stain))}")
        if self.beyond not in get_args(Beyond):
            raise UsageError(f"beyond {self.beyond!r}: there are {', '.join(get_args(Beyond))}")
        if self.nucleus_um is not None and not (self.nucleus_um > 0 and self.field_um is not None):
            raise UsageError(f"nucleus_um {self.nucleus_um}: must be positive, and needs field_um")

    @property
    def side(self) -> int:
        """Side of the stored square, grid and both margins, pixels."""
        return self.grid + 2 * self.margin

    def in_pixels_of(self, other: "Preprocessing") -> "Preprocessing":
        """The same view in another's number of pixels: with its `grid` and, where that differs, its `margin`."""
        return self if self.grid == other.grid else replace(self, grid=other.grid, margin=other.margin)

    def facts(self) -> dict[str, Any]:
        """The settings that differ from their defaults: a fingerprint of them outlives settings added later."""
        return {name: value for name, value in asdict(self).items() if value != getattr(type(self), name, None)}


def scale_of(image: NDArray[np.uint8], settings: Preprocessing, image_um: float | None) -> float | None:
    """What the image's shorter side shows, um: as told, else guessed from its nucleus if the settings say so.

    The guess makes the image's own nucleus a usual one, within what a field can be (half to twice `field_um`).

    Args:
        image: uint8 [H, W, 3].
        settings: its `nucleus_um` and `field_um` count.
        image_um: what is known; None: nothing.

    Returns:
        None: unknown, and nothing to guess from; the whole image is used.
    """
    if image_um is not None or settings.nucleus_um is None or settings.field_um is None:
        return image_um
    share = nucleus_share(image)
    if share is None:
        return settings.field_um
    return float(np.clip(settings.nucleus_um / share, settings.field_um / 2, settings.field_um * 2))


def preprocess(
    image: NDArray[np.uint8],
    settings: Preprocessing,
    image_um: float | None,
    *,
    background: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Crop to the physical field (margins included) and resize.

    Where the wanted field reaches beyond the image, the image is continued as the settings say. Resizing is bilinear
    with antialiasing.

    Args:
        image: uint8 [H, W, 3].
        settings: field and size.
        image_um: what the image's shorter side shows, um; None when unknown: see `scale_of`.
        background: its color, uint8 [3], where the settings ask for it; None: that of `background_color`.

    Returns:
        uint8 [side, side, 3].

    Raises:
        UsageError: the field is so much wider than the image that there would be little to see.
    """
    height, width = image.shape[:2]
    image_um = scale_of(image, settings, image_um)
    if settings.field_um is None or image_um is None:
        box = np.array([width, height], dtype=float) / settings.grid * settings.side
    else:
        pixels_per_um = min(height, width) / image_um
        box = np.full(2, settings.field_um / settings.grid * settings.side * pixels_per_um)
        if box.max() > WIDEST * max(height, width):
            raise UsageError(
                f"a field of {settings.field_um} um and its margins reach far beyond an image of {image_um} um; "
                "check field_um and image_um"
            )
    centre = np.array([width, height]) / 2
    low, high = centre - box / 2, centre + box / 2
    pad = int(np.ceil(max(0.0, -low.min(), (high - [width, height]).max()) - 1e-6))
    if pad > 0:
        image = _continued(image, pad, settings.beyond, background)
    left, top = np.clip(low + pad, 0, None).tolist()
    right, bottom = np.minimum(high + pad, image.shape[1::-1]).tolist()
    side = settings.side
    resized = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    return np.asarray(resized)


def preprocess_kinds(
    mask: NDArray[np.uint8], kinds: tuple[int, int, int], settings: Preprocessing, image_um: float | None
) -> NDArray[np.uint8]:
    """A mask gone the way of its image: every kind of pixel as a color of its own, then the strongest wins.

    Args:
        mask: uint8 [H, W].
        kinds: the values in it; the first is what lies beyond the image, where that is its background.
        settings: as for the image.
        image_um: as for the image.

    Returns:
        uint8 [side, side].
    """
    values = np.array(kinds, np.uint8)
    colors = np.where(mask[:, :, None] == values, 255, 0).astype(np.uint8)
    around = np.array([255, 0, 0], np.uint8)
    winners: NDArray[np.uint8] = values[preprocess(colors, settings, image_um, background=around).argmax(axis=2)]
    return winners


def _continued(
    image: NDArray[np.uint8], pad: int, beyond: Beyond, background: NDArray[np.uint8] | None
) -> NDArray[np.uint8]:
    """The image with so many pixels more on every side."""
    if beyond == "reflection":
        return np.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode="symmetric")
    height, width = image.shape[:2]
    color = background_color(image) if background is None else background
    wide = np.tile(color, (height + 2 * pad, width + 2 * pad, 1))
    wide[pad : pad + height, pad : pad + width] = image
    return wide


def centre_view(squares: NDArray[np.uint8], settings: Preprocessing) -> NDArray[np.uint8]:
    """Cut the margins off: uint8 [..., side, side, 3] -> [..., grid, grid, 3]."""
    inner = slice(settings.margin, settings.margin + settings.grid)
    return squares[..., inner, inner, :]


def sized_view(squares: NDArray[np.uint8], settings: Preprocessing, size: float) -> NDArray[np.uint8]:
    """The middle of each square with all in it that much larger or smaller; bilinear with antialiasing, as elsewhere.

    Where a smaller cell leaves room beyond the square, it is continued as the settings say.

    Args:
        squares: with their margins, uint8 [B, side, side, 3].
        settings: how they were made.
        size: above 1: larger.

    Returns:
        uint8 [B, grid, grid, 3].
    """
    shown = settings.grid / size  # pixels of the square
    pad = max(0, math.ceil((shown - settings.side) / 2))
    low = (settings.side - shown) / 2 + pad
    box, out = (low, low, low + shown, low + shown), (settings.grid, settings.grid)
    views = np.empty((len(squares), *out, 3), np.uint8)
    for index, square in enumerate(squares):
        whole = _continued(square, pad, settings.beyond, None) if pad else np.ascontiguousarray(square)
        views[index] = np.asarray(Image.fromarray(whole).resize(out, Image.Resampling.BILINEAR, box=box))
    return views
