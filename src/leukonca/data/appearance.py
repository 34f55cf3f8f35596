"""How a random view looks: out of focus, of another stain, lamp and camera, noisy; in torch.

Every function takes views, float32 [B, 3, H, W] in 0..1, one seed a view, int64 [B], and one strength a view,
float64 [B], that multiplies what the settings allow. What changes in a view depends on these three alone.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (its customary name)
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor

from leukonca.data.augmentation import Augmentation
from leukonca.data.chance import Seeds, uniform
from leukonca.data.stain import FAINTEST, HIGH, LOW

OFTEN = 0.6
"""Share of the views that are blurred, and that are noisy, where that is on."""

Strengths = NDArray[np.float64]
"""How strongly each view may change, beside what the settings say: [B], 1 for as much."""

_PIXELS = 1000
"""The first slot of chance that a pixel's noise takes."""


def change_looks(views: Tensor, seeds: Seeds, settings: Augmentation, strengths: Strengths) -> Tensor:
    """What the settings ask for: focus, then dyes and light, then the camera's noise."""
    if settings.blur > 0:
        views = _blur(views, seeds, settings.blur, strengths)
    if max(settings.stain, settings.mixing, settings.tone, settings.redness) > 0:
        density = views.clamp(min=1 / 255).log_().neg_()  # [B, 3, H, W]; black has no finite density
        if settings.tone > 0:
            density = _retone(density, seeds, settings.tone, strengths)
        if settings.redness > 0:
            density = _redden(density, seeds, settings.redness, strengths)
        views = _restain(density, seeds, settings, strengths).neg_().exp_().clamp_(0, 1)
    return _add_noise(views, seeds, settings.noise, strengths) if settings.noise > 0 else views


def _blur(views: Tensor, seeds: Seeds, most: float, strengths: Strengths) -> Tensor:
    """Put most views out of focus: Gaussian, of any width up to `most`, a share of the grid; the others stay sharp."""
    chance = uniform(seeds, slots=2, first=14)  # [2, B]
    height, width = views.shape[-2:]
    sigma = np.where(chance[0] < OFTEN, strengths * most * height * chance[1], 0.0)
    reach = min(math.ceil(3 * most * height), height - 1, width - 1)
    offsets = np.arange(-reach, reach + 1)
    bells = np.exp(-(offsets**2) / (2 * np.maximum(sigma, 1e-3)[:, None] ** 2))  # [B, 2 reach + 1]
    kernels = torch.from_numpy(bells / bells.sum(axis=1, keepdims=True)).to(views.device, torch.float32)
    kernels = kernels.repeat_interleave(3, dim=0)  # [3 B, 2 reach + 1]
    rows = views.reshape(1, -1, height, width)  # each color of each view is a channel with a kernel of its own
    rows = F.conv2d(F.pad(rows, (reach, reach, 0, 0), mode="reflect"), kernels[:, None, None, :], groups=len(kernels))
    rows = F.conv2d(F.pad(rows, (0, 0, reach, reach), mode="reflect"), kernels[:, None, :, None], groups=len(kernels))
    return rows.reshape(views.shape)


def _retone(density: Tensor, seeds: Seeds, most: float, strengths: Strengths) -> Tensor:
    """Make what lies between background and nucleus darker or paler, each color for itself; the two ends stay.

    So a red cell or an eosin granule may come near to the nucleus, or near to the background: how much eosin there is
    beside the azure dyes differs between laboratories, and how a camera renders middle tones between cameras.

    With x from 0 at the background to 1 at the nucleus, x becomes k x / (1 + (k - 1) x): slope k at 0 and 1 / k at 1.
    """
    chance = _either_way(seeds, 3, 22, strengths).to(density.device)  # [3, B]
    k = torch.exp(math.log1p(most) * chance.T)[:, :, None, None]  # [B, 3, 1, 1]
    low, span = _scale_of(density)
    x = (density - low) / span
    # Beyond the ends the curve goes on straight, with the slope that it has there.
    inside = x.clamp(0, 1)
    curve = k * inside / (1 + (k - 1) * inside) + k * x.clamp(max=0) + (x.clamp(min=1) - 1) / k
    toned: Tensor = (low + span * curve).clamp_(min=0)
    return toned


def _redden(density: Tensor, seeds: Seeds, most: float, strengths: Strengths) -> Tensor:
    """Let red and green differ more or less about their mean, on the scale from background to nucleus; blue stays."""
    factor = torch.exp(most * _either_way(seeds, 1, 31, strengths).to(density.device)).reshape(-1, 1, 1, 1)
    pair = density[:, :2]
    low, span = _scale_of(pair)
    x = (pair - low) / span
    mean = x.mean(dim=1, keepdim=True)
    changed = (low + span * (mean + factor * (x - mean))).clamp_(min=0)
    return torch.cat([changed, density[:, 2:]], dim=1)


def _scale_of(density: Tensor) -> tuple[Tensor, Tensor]:
    """Each color's density of the background, and how much denser its nucleus is: [B, colors, 1, 1] each."""
    pixels = density.flatten(start_dim=2).cpu().numpy()  # [B, C, H W]; torch takes ten times as long for quantiles
    low, high = torch.from_numpy(np.quantile(pixels, (LOW, HIGH), axis=2)).to(density)[..., None, None].unbind()
    return low, (high - low).clamp(min=FAINTEST)


def _restain(density: Tensor, seeds: Seeds, settings: Augmentation, strengths: Strengths) -> Tensor:
    """Change stain and light in optical density, where a stain's amount is proportional (Beer-Lambert)."""
    chance = _either_way(seeds, 6, 8, strengths).to(density.device)  # [6, B]
    factor = torch.exp(settings.stain * chance[0:3].T).contiguous()[:, :, None, None]  # [B, 3, 1, 1]
    offset = (0.2 * settings.stain * chance[3:6].T).contiguous()[:, :, None, None]
    density = density.mul_(factor).add_(offset)
    if settings.mixing > 0:
        parts = _either_way(seeds, 6, 16, strengths).to(density.device).T
        parts = (settings.mixing * parts).contiguous().reshape(-1, 3, 2, 1, 1)  # [B, to, of which other, 1, 1]
        red, green, blue = (density[:, color] for color in range(3))
        others = ((green, blue), (red, blue), (red, green))
        mixed = [
            density[:, to] + parts[:, to, 0] * first + parts[:, to, 1] * second
            for to, (first, second) in enumerate(others)
        ]
        density = torch.stack(mixed, dim=1).clamp_(min=0)
    return density


def _add_noise(views: Tensor, seeds: Seeds, most: float, strengths: Strengths) -> Tensor:
    """Make most views noisy: Gaussian, of any standard deviation up to `most`, alone in every pixel and color."""
    chance = uniform(seeds, slots=2, first=25)  # [2, B]
    deviation = np.where(chance[0] < OFTEN, strengths * most * chance[1], 0.0)
    noisy = np.flatnonzero(deviation)  # [N]
    drawn = uniform(seeds[noisy], slots=views[0].numel(), first=_PIXELS)  # [3 H W, N]
    noise = (ndtri(np.maximum(drawn, 2.0**-53)) * deviation[noisy]).T.reshape(len(noisy), *views.shape[1:])
    added = views.clone()
    added[noisy] += torch.from_numpy(noise).to(views.device, torch.float32)
    return added.clamp_(0, 1)


def _either_way(seeds: Seeds, slots: int, first: int, strengths: Strengths) -> Tensor:
    """Numbers between minus and plus each view's strength, float32 [slots, B]."""
    return torch.from_numpy(strengths * (2 * uniform(seeds, slots=slots, first=first) - 1)).to(torch.float32)
