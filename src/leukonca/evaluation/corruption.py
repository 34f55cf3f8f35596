"""What goes wrong between a cell and its image, at five strengths: pure functions of squares, places and a seed.

They change the stored squares, margins included, so that a smaller cell shows its real surroundings before they are
continued by reflection. Each kind has its scale in the unit of its cause: blur and dust in um on the slide, stain as
optical density, light as a factor. An image's change depends on the image, its place in the center and the seed, never
on the batch; the draws behind a stronger change are those behind a weaker one.

To add a kind, write a function and one line in `CORRUPTIONS`.

Source: Hendrycks & Dietterich 2019 (arXiv 1903.12261), five strengths of common corruptions; Di Salvo et al. 2024
(MedMNIST-C, arXiv 2406.17536), the kinds that a microscope makes. Their values belong to other images and scales;
those here are our own.
"""

import io
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.special import ndtri
from skimage.color import hed_from_rgb, rgb_from_hed

from leukonca.data.preprocessing import Preprocessing, preprocess
from leukonca.errors import UsageError

STRENGTHS = (1, 2, 3, 4, 5)
"""Every kind's; 0 is the unchanged image."""

UNKNOWN_FIELD_UM = 30.0
"""What a square without its margins is taken to show where nobody knows."""

NOISE_PIXEL_UM = 0.5
"""Noise is stated for pixels of this side; larger ones average more of it, as a camera's would."""

DUST_REACH_UM = 60.0
"""Specks are drawn over a square of this side around the cell, so that they lie alike on every grid and margin."""

_DUST_DIAMETERS_UM = (1.0, 3.0)
_DUST_PASSES = 0.15
"""Share of the light that a speck lets through."""

Squares = NDArray[np.uint8]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Corruption:
    """One kind.

    Args:
        name: on the command line and in results.
        words: what it is, for a reader.
        unit: of its values.
        values: of the strengths 1 to 5.
        apply: (one square uint8 [side, side, 3], value, um a pixel, uniform numbers) -> uint8 or float of the same
            shape, in gray levels. The last argument gives the image's own uniform numbers in 0..1, of a wanted shape.
    """

    name: str
    words: str
    unit: str
    values: tuple[float, float, float, float, float]
    apply: "Callable[[Squares, float, float, Draw], Squares | Floats]"


Draw = Callable[[tuple[int, ...]], Floats]


def corrupt(
    squares: Squares,
    kind: str,
    strength: int,
    *,
    places: NDArray[np.int64],
    um_per_pixel: float,
    seed: int = 0,
) -> Squares:
    """The same cells, taken worse.

    Args:
        squares: uint8 [N, side, side, 3], margins included.
        kind: a key of `CORRUPTIONS`.
        strength: 1 to 5; 0 gives the same bits.
        places: int64 [N], each image's place in its center: what is random follows from it, from the kind and the seed.
        um_per_pixel: side of a pixel on the slide; see `pixel_um`.
        seed: of what is random.

    Returns:
        A new array, uint8 [N, side, side, 3].

    Raises:
        UsageError: an unknown kind or strength, or arrays that do not fit.
    """
    (chosen,) = find_corruptions([kind])
    if strength not in (0, *STRENGTHS):
        raise UsageError(f"strength {strength}: give 1 to 5, or 0 for no change")
    if squares.dtype != np.uint8 or squares.ndim != 4 or squares.shape[3] != 3 or places.shape != squares.shape[:1]:
        raise UsageError(
            f"corrupt: squares {squares.dtype} {list(squares.shape)} and places {list(places.shape)};"
            " expected uint8 [N, side, side, 3] and [N]"
        )
    if not um_per_pixel > 0:
        raise UsageError(f"corrupt: um_per_pixel is {um_per_pixel}; must be positive")
    changed = np.array(squares)
    if strength == 0:
        return changed
    value = chosen.values[strength - 1]
    for i, place in enumerate(places.tolist()):
        changed[i] = _levels(chosen.apply(changed[i], value, um_per_pixel, _draws(seed, kind, place)))
    return changed


def find_corruptions(names: Iterable[str] | None = None) -> tuple[Corruption, ...]:
    """The kinds of these names, in their order, each once; None: all.

    Raises:
        UsageError: there is no such kind.
    """
    wanted = tuple(CORRUPTIONS) if names is None else tuple(dict.fromkeys(names))
    for name in wanted:
        if name not in CORRUPTIONS:
            raise UsageError(f"corruption {name!r}: there are {', '.join(CORRUPTIONS)}")
    return tuple(CORRUPTIONS[name] for name in wanted)


def pixel_um(preprocessing: Preprocessing, image_um: float | None) -> float:
    """Side of a square's pixel on the slide, um.

    Args:
        preprocessing: how the squares were cut.
        image_um: what the shorter side of a file shows, um. None: unknown; the square is taken to show its field if it
            was cut by the nucleus, else `UNKNOWN_FIELD_UM`.
    """
    if image_um is None and preprocessing.nucleus_um is None:
        return UNKNOWN_FIELD_UM / preprocessing.grid
    return (preprocessing.field_um or image_um or UNKNOWN_FIELD_UM) / preprocessing.grid


def _draws(seed: int, kind: str, place: int) -> Draw:
    # From the generator's raw stream of uniform numbers alone, which is the same in every version of NumPy.
    words = [seed % 2**64, zlib.crc32(kind.encode()), place]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words))).random


def _levels(values: Squares | Floats) -> Squares:
    if values.dtype == np.uint8:
        return values.astype(np.uint8)
    rounded: Squares = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded


def _blur(square: Squares, sigma_um: float, um: float, _: Draw) -> Floats:
    blurred: Floats = gaussian_filter(square.astype(np.float64), (sigma_um / um, sigma_um / um, 0), mode="reflect")
    return blurred


def _noise(square: Squares, sigma: float, um: float, draw: Draw) -> Floats:
    uniform = np.clip(draw(square.shape), 2.0**-53, None)
    noise: Floats = square + sigma * NOISE_PIXEL_UM / um * ndtri(uniform)
    return noise


def _jpeg(square: Squares, quality: float, _: float, __: Draw) -> Squares:
    file = io.BytesIO()
    Image.fromarray(square).save(file, format="JPEG", quality=int(quality))
    with Image.open(file) as image:
        return np.asarray(image)


def _light(square: Squares, factor: float, _: float, __: Draw) -> Floats:
    return square.astype(np.float64) * factor


def _contrast(square: Squares, share: float, _: float, __: Draw) -> Floats:
    mean = square.mean(axis=(0, 1))
    return np.asarray(mean + share * (square - mean), dtype=np.float64)


def _stain_amount(square: Squares, factor: float, _: float, __: Draw) -> Floats:
    """Optical density times a factor: light that passes is I0 10^-density, and I0 is white (Beer-Lambert)."""
    passed: Floats = 255.0 * (square / 255.0) ** factor
    return passed


def _hue(square: Squares, shift: float, _: float, draw: Draw) -> Floats:
    """More of the blue stain and less of the red, or the reverse, by the image's own chance.

    Source: Ruifrok & Johnston 2001, color deconvolution; its matrix as in scikit-image. (`rgb2hed` is not used: it
    takes no negative amounts, and so changes colors even where no stain is changed.)
    """
    side = 1.0 if draw((1,))[0] < 0.5 else -1.0
    factors = np.exp(side * shift * np.array([1.0, -1.0, 0.0]))  # hematoxylin, eosin, the rest
    density = -np.log10(np.maximum(square, 1) / 255.0)  # black has no finite density
    passed: Floats = 255.0 * 10.0 ** -(density @ (hed_from_rgb @ np.diag(factors) @ rgb_from_hed))
    return passed


def _size(square: Squares, factor: float, _: float, __: Draw) -> Squares:
    """The cell that many times as large: another field of the square is cut out, reflected where it ends."""
    side = len(square)
    return preprocess(square, Preprocessing(grid=side, field_um=side / factor), image_um=side)


def _dust(square: Squares, per_square: float, um: float, draw: Draw) -> Floats:
    most = int(max(CORRUPTIONS["dust"].values))
    chance = draw((most, 3))[: int(per_square)]
    middle = (chance[:, :2] - 0.5) * DUST_REACH_UM  # [specks, 2], x and y from the cell's center
    low, high = _DUST_DIAMETERS_UM
    radius = (low + (high - low) * chance[:, 2]) / 2
    along = (np.arange(len(square)) - (len(square) - 1) / 2) * um
    x, y = along[None, None, :], along[None, :, None]
    distance = np.hypot(x - middle[:, 0, None, None], y - middle[:, 1, None, None])  # [specks, side, side]
    covered = np.clip((radius[:, None, None] - distance) / um + 0.5, 0.0, 1.0)
    light: Floats = np.prod(1.0 - (1.0 - _DUST_PASSES) * covered, axis=0)  # [side, side]
    return np.asarray(square * light[:, :, None], dtype=np.float64)


CORRUPTIONS: Mapping[str, Corruption] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            Corruption("blur", "out of focus (Gaussian)", "sigma, um", (0.3, 0.5, 0.75, 1.0, 1.4), _blur),
            Corruption("noise", "camera noise (Gaussian)", "sigma, gray levels", (5, 10, 16, 24, 34), _noise),
            Corruption("jpeg", "JPEG compression", "quality", (80, 60, 40, 25, 15), _jpeg),
            Corruption("brighter", "more light", "factor", (1.05, 1.1, 1.2, 1.35, 1.5), _light),
            Corruption("darker", "less light", "factor", (0.9, 0.8, 0.7, 0.6, 0.5), _light),
            Corruption("contrast", "less contrast", "share left", (0.85, 0.7, 0.55, 0.4, 0.3), _contrast),
            Corruption("pale", "weaker stain", "optical density, factor", (0.85, 0.7, 0.6, 0.5, 0.4), _stain_amount),
            Corruption("dense", "stronger stain", "optical density, factor", (1.2, 1.4, 1.7, 2.0, 2.5), _stain_amount),
            Corruption("hue", "more blue or more red", "stains, log of factor", (0.1, 0.2, 0.3, 0.45, 0.6), _hue),
            Corruption("smaller", "smaller cell", "size, factor", (0.91, 0.8, 0.71, 0.62, 0.55), _size),
            Corruption("larger", "larger cell", "size, factor", (1.1, 1.25, 1.4, 1.6, 1.8), _size),
            Corruption("dust", "specks of 1 to 3 um", "specks in 60 x 60 um", (6, 12, 24, 48, 80), _dust),
        )
    }
)
"""All kinds, by name."""
