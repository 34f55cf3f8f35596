"""The three SYNTHETIC centers: stains, light, microscope and camera, from dye amounts to pixels."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from leukonca.data.synthetic.fields import Canvas, Field

Color = tuple[float, float, float]
"""Red, green, blue."""

NATIVE_PIXELS = 96
"""Side of a synthetic image before preprocessing, pixels."""


@dataclass(frozen=True)
class Stain:
    """Optical density (natural logarithm) that one unit of each dye adds in red, green and blue."""

    azure: Color
    blue: Color
    eosin: Color
    hemoglobin: Color


@dataclass(frozen=True)
class SyntheticCenter:
    """One invented laboratory.

    Args:
        name: as on the command line.
        image_um: field of view of an image, um.
        background: color of the empty field, 0..1.
        stain: see `Stain`.
        stain_spread: relative spread of the stain from cell to cell.
        red_cells: how many red cells per 100 square um.
        blur_um: standard deviation of the blur per color channel, um.
        focus_spread: relative spread of the blur from cell to cell.
        noise: standard deviation of the camera's noise, 0..1.
        vignette: loss of light in the corners, 0..1.
        jpeg_quality: of the compression that a file has been through.
    """

    name: str
    image_um: float
    background: Color
    stain: Stain
    stain_spread: float
    red_cells: float
    blur_um: Color
    focus_spread: float
    noise: float
    vignette: float
    jpeg_quality: int

    @property
    def canvas(self) -> Canvas:
        """The pixels of an image."""
        return Canvas(NATIVE_PIXELS, self.image_um)


CENTERS: Mapping[str, SyntheticCenter] = MappingProxyType(
    {
        center.name: center
        for center in (
            SyntheticCenter(
                name="synthetic_cream",
                image_um=30.0,
                background=(0.98, 0.91, 0.80),
                stain=Stain(
                    azure=(1.15, 1.75, 0.50),
                    blue=(0.95, 0.80, 0.12),
                    eosin=(0.20, 0.88, 0.80),
                    hemoglobin=(0.21, 0.40, 0.34),
                ),
                stain_spread=0.18,
                red_cells=1.1,
                blur_um=(0.16, 0.14, 0.18),
                focus_spread=0.2,
                noise=0.012,
                vignette=0.04,
                jpeg_quality=88,
            ),
            SyntheticCenter(
                name="synthetic_lilac",
                image_um=36.0,
                background=(0.86, 0.84, 0.92),
                stain=Stain(
                    azure=(1.60, 1.70, 0.62),
                    blue=(1.15, 0.75, 0.18),
                    eosin=(0.30, 0.75, 0.45),
                    hemoglobin=(0.20, 0.38, 0.24),
                ),
                stain_spread=0.2,
                red_cells=0.8,
                blur_um=(0.34, 0.28, 0.32),
                focus_spread=0.3,
                noise=0.02,
                vignette=0.14,
                jpeg_quality=80,
            ),
            SyntheticCenter(
                name="synthetic_yellow",
                image_um=24.0,
                background=(0.93, 0.86, 0.50),
                stain=Stain(
                    azure=(0.52, 1.50, 0.80),
                    blue=(0.50, 0.53, 0.32),
                    eosin=(0.10, 0.58, 0.62),
                    hemoglobin=(0.08, 0.13, 0.20),
                ),
                stain_spread=0.25,
                red_cells=0.5,
                blur_um=(0.22, 0.18, 0.26),
                focus_spread=0.35,
                noise=0.03,
                vignette=0.0,
                jpeg_quality=60,
            ),
        )
    }
)
"""Name -> synthetic center: a warm clean one, a cool blurred one with a blue stain, a yellow noisy rapid stain."""


@dataclass
class Amounts:
    """Dye amounts per pixel, each float32 [H, W]."""

    azure: Field
    blue: Field
    eosin: Field
    hemoglobin: Field


def photograph(amounts: Amounts, center: SyntheticCenter, rng: np.random.Generator) -> NDArray[np.uint8]:
    """What the center's camera makes of the dyes: uint8 [H, W, 3].

    Light is lost exponentially with the optical density (Beer-Lambert), then blurred, dimmed, disturbed by noise and
    compressed.
    """
    common, *own = rng.normal(0, center.stain_spread, 5)
    stain, canvas = center.stain, center.canvas
    density = np.zeros((3, canvas.pixels, canvas.pixels), dtype=np.float32)
    for color, amount, spread in (
        (stain.azure, amounts.azure, own[0]),
        (stain.blue, amounts.blue, own[1]),
        (stain.eosin, amounts.eosin, own[2]),
        (stain.hemoglobin, amounts.hemoglobin, own[3]),
    ):
        density += np.array(color, dtype=np.float32)[:, None, None] * (amount * np.float32(np.exp(spread / 2 + common)))
    lamp = np.array(center.background) * np.exp(rng.normal(0, 0.02) + rng.normal(0, 0.012, 3))
    light = np.exp(-density) * lamp.astype(np.float32)[:, None, None]
    focus = np.exp(rng.normal(0, center.focus_spread)) / canvas.pixel_um
    for channel, blur in zip(light, center.blur_um, strict=True):
        ndimage.gaussian_filter(channel, blur * focus, output=channel, mode="nearest", truncate=3)
    if center.vignette > 0:
        x, y = canvas.axes()
        off = rng.normal(0, 0.1, 2).astype(np.float32) * np.float32(canvas.um)
        light *= 1 - np.float32(center.vignette * 2 / canvas.um**2) * ((x - off[0]) ** 2 + (y - off[1]) ** 2)
    light += np.float32(center.noise) * rng.standard_normal(light.shape, dtype=np.float32)
    pixels = np.clip(light.transpose(1, 2, 0) * 255 + 0.5, 0, 255).astype(np.uint8)
    return _through_jpeg(pixels, center.jpeg_quality)


def _through_jpeg(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))
