"""Colors without the stain's strength and the light's tint, from each image alone."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Stretched = Literal["stretched", "lightness"]
"""What `stretch` stretches: densities (the first there was, hence its name) or lightness."""

Stain = Literal["plain", "stretched", "lightness"]
"""What is done to an image's colors before they are normalised: nothing, or `stretch`."""

LOW, HIGH = 0.05, 0.95
"""Share of the pixels that are paler, in each color, than what becomes 0 and what becomes 1."""

BEYOND = 0.5
"""How far beyond 0 and 1 values may go."""

FAINTEST = 0.05
"""A color that varies less, in density or in lightness, is not stretched further, or noise would fill the picture."""

LIGHTNESS = 2.2 / 3
"""Power of a stored value that its lightness is: files hold the 2.2nd root of light, the eye sees the third."""


class Levels(NamedTuple):
    """What is done to the stretched scale of B images: times gain, plus offset; red and green, float32 [B, 2] each."""

    gain: NDArray[np.float32]
    offset: NDArray[np.float32]


def stretch(images: NDArray[np.float32], stain: Stretched, levels: Levels | None = None) -> NDArray[np.float32]:
    """Red and green on a scale of the image's own: 0 its background, 1 its nucleus. Nothing is known of other images.

    Of densities (`"stretched"`): an illumination of any tint adds the same to all densities of a color, and a stronger
    stain multiplies them (Beer-Lambert), so neither changes the result. But a veil over the image, which adds the same
    to every stored value (haze in the optics, a camera's black level or contrast), takes most from the densest: what
    lies between background and nucleus then looks denser.

    Of lightness (`"lightness"`): the tint changes nothing here either. Stored values themselves would be free of a
    veil and not of the stain's strength, densities the other way round; lightness lies between, nearer to the values.

    Blue is left out: nuclei take up red and green light in every stain of the Romanowsky family, but blue light much
    in some and hardly in others.

    Args:
        images: [B, 3, H, W] in 0..1; in densities, black counts as 1 / 255.
        stain: which of the two.
        levels: of training views; None: as the percentiles are.

    Returns:
        float32 [B, 3, H, W]: red and green, from -0.5 to 1.5, and green minus red, which eosin makes large.

    Source: optical density as in Ruifrok and Johnston 2001 (PMID 11531144); percentiles in place of the darkest and
    brightest pixel, as robust stain normalisation has them (Macenko et al. 2009, doi 10.1109/ISBI.2009.5193250);
    lightness is the cube root of light, as in CIE 1976 L*.
    """
    darkness = _DARKNESS[stain](images[:, :2])
    pixels = darkness.reshape(len(darkness), 2, -1)  # [B, 2, H W]
    ends: NDArray[Any] = np.quantile(pixels, (LOW, HIGH), axis=2).astype(np.float32)[..., None, None]  # [2, B, 2, 1, 1]
    scaled = (darkness - ends[0]) / np.maximum(ends[1] - ends[0], np.float32(FAINTEST))
    if levels is not None:
        scaled = scaled * levels.gain[:, :, None, None] + levels.offset[:, :, None, None]
    np.clip(scaled, -BEYOND, 1 + BEYOND, out=scaled)
    result: NDArray[np.float32] = np.concatenate([scaled, scaled[:, 1:] - scaled[:, :1]], axis=1)
    return result


def stained(images: NDArray[np.float32], stain: Stain, levels: Levels | None = None) -> NDArray[np.float32]:
    """What `stretch` makes of images [B, 3, H, W] in 0..1, at these levels; plain ones stay."""
    return images if stain == "plain" else stretch(images, stain, levels)


def _density(images: NDArray[np.float32]) -> NDArray[np.float32]:
    density: NDArray[np.float32] = -np.log(np.maximum(images, np.float32(1 / 255)), dtype=np.float32)
    return density


def _lack_of_lightness(images: NDArray[np.float32]) -> NDArray[np.float32]:
    lightness: NDArray[np.float32] = np.maximum(images, np.float32(0)) ** np.float32(LIGHTNESS)
    return -lightness


_DARKNESS: Mapping[Stretched, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = MappingProxyType(
    {"stretched": _density, "lightness": _lack_of_lightness}
)
"""What is stretched: larger where an image is darker."""
