"""Colors without the stain's strength and the light's tint, from each image alone."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Stain = Literal["plain", "stretched"]
"""What is done to an image's colors before they are normalised: nothing, or `stretch`."""

LOW, HIGH = 0.05, 0.95
"""Share of the pixels that are paler, in each color, than what becomes 0 and what becomes 1."""

BEYOND = 0.5
"""How far beyond 0 and 1 values may go."""

FAINTEST = 0.05
"""A color whose optical density varies less than this is not stretched further, or noise would fill the picture."""


def stretch(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Optical densities of red and green on a scale of the image's own: 0 its background, 1 its nucleus.

    An illumination of any tint adds the same to all densities of a color, and a stronger stain multiplies them
    (Beer-Lambert), so neither changes the result. Nothing is known of other images. Blue is left out: nuclei take up
    red and green light in every stain of the Romanowsky family, but blue light much in some and hardly in others.

    Args:
        images: [B, 3, H, W] in 0..1; black counts as 1 / 255.

    Returns:
        float32 [B, 3, H, W]: red and green, from -0.5 to 1.5, and green minus red, which eosin makes large.

    Source: optical density as in Ruifrok and Johnston 2001 (PMID 11531144); percentiles in place of the darkest and
    brightest pixel, as robust stain normalisation has them (Macenko et al. 2009, doi 10.1109/ISBI.2009.5193250).
    """
    density = -np.log(np.maximum(images[:, :2], np.float32(1 / 255)), dtype=np.float32)
    pixels = density.reshape(len(density), 2, -1)  # [B, 2, H W]
    ends: NDArray[Any] = np.quantile(pixels, (LOW, HIGH), axis=2).astype(np.float32)[..., None, None]  # [2, B, 2, 1, 1]
    scaled = (density - ends[0]) / np.maximum(ends[1] - ends[0], np.float32(FAINTEST))
    np.clip(scaled, -BEYOND, 1 + BEYOND, out=scaled)
    result: NDArray[np.float32] = np.concatenate([scaled, scaled[:, 1:] - scaled[:, :1]], axis=1)
    return result


def stained(images: NDArray[np.float32], stain: Stain) -> NDArray[np.float32]:
    """What `stain` makes of images [B, 3, H, W] in 0..1."""
    return stretch(images) if stain == "stretched" else images
