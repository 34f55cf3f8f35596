"""Random views of a batch of squares: turned, mirrored, shifted, scaled, with another stain; in torch.

A sample's change is a pure function of that sample's own seed. Batches, workers and an interrupted run
therefore change nothing, and no random generator is touched.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (its customary name)
from numpy.typing import NDArray
from torch import Tensor

from leukonca.data.augmentation import Augmentation
from leukonca.data.colors import Color
from leukonca.data.preprocessing import Preprocessing
from leukonca.data.stain import Stain, stained
from leukonca.errors import UsageError

BLURRED = 0.6
"""Share of the views that are blurred, where blur is on."""


def augment(
    squares: Tensor,
    preprocessing: Preprocessing,
    settings: Augmentation,
    seeds: Tensor,
    *,
    grid: int | None = None,
) -> Tensor:
    """One random view of every square.

    Args:
        squares: uint8 [B, side, side, 3], margins included.
        preprocessing: how the squares were made.
        settings: what may change.
        seeds: int64 [B]; a sample's view depends on its square and its own seed alone, bit for bit.
        grid: side of the views, pixels; None: that of `preprocessing`. A smaller grid shows the same field
            at a lower resolution, for a first stage of training that costs less.

    Returns:
        float32 [B, 3, grid, grid] in 0..1, on the device of the squares.

    Raises:
        UsageError: the squares or the seeds do not fit, or the grid is below 2 or above that of
            `preprocessing`.
    """
    _check(squares, preprocessing, grid)
    if seeds.dtype != torch.int64 or seeds.shape != squares.shape[:1]:
        raise UsageError(
            f"augment: seeds must be int64 [{len(squares)}], one per square; got {seeds.dtype} {list(seeds.shape)}"
        )
    numbers = seeds.cpu().numpy()
    if settings.moves:
        matrices, shifts = _random_moves(numbers, settings)
        views = sample_views(squares, preprocessing, matrices, shifts, grid=grid)
    else:
        views = centre_images(squares, preprocessing, grid=grid)
    if settings.blur > 0:
        views = _blur(views, numbers, settings.blur)
    return _restain(views, numbers, settings) if settings.stain > 0 or settings.mixing > 0 else views


def centre_images(squares: Tensor, preprocessing: Preprocessing, *, grid: int | None = None) -> Tensor:
    """The unchanged view, used for evaluation: the middle of each square.

    Args:
        squares: uint8 [B, side, side, 3], margins included.
        preprocessing: how the squares were made.
        grid: see `augment`.

    Returns:
        float32 [B, 3, grid, grid] in 0..1; at full resolution exactly the pixels divided by 255.

    Raises:
        UsageError: as in `augment`.
    """
    _check(squares, preprocessing, grid)
    if grid is not None and grid != preprocessing.grid:
        count = len(squares)
        same = np.tile(np.eye(2), (count, 1, 1))
        return sample_views(squares, preprocessing, same, np.zeros((count, 2)), grid=grid)
    inner = slice(preprocessing.margin, preprocessing.margin + preprocessing.grid)
    return _as_images(squares[:, inner, inner])


def normalise(images: Tensor, mean: Color, std: Color, stain: Stain) -> Tensor:
    """Images in 0..1, [B, 3, H, W], to zero mean and unit variance of the training center's colors.

    Args:
        images: float32, on the CPU unless `stain` is plain.
        mean: of red, green, blue, after `stain`.
        std: likewise.
        stain: what is done to each image's colors first: `leukonca.data.stain`.
    """
    if stain != "plain":
        images = torch.from_numpy(stained(images.numpy(), stain))
    return (images - images.new_tensor(mean)[:, None, None]) / images.new_tensor(std)[:, None, None]


def sample_views(
    squares: Tensor,
    preprocessing: Preprocessing,
    matrices: NDArray[np.float64],
    shifts: NDArray[np.float64],
    *,
    grid: int | None = None,
) -> Tensor:
    """Views of the squares under given affine maps about their centres; bilinear, continued by reflection.

    Args:
        squares: uint8 [B, side, side, 3], margins included.
        preprocessing: how the squares were made.
        matrices: [B, 2, 2]; (x, y) from the view's centre -> (x, y) from the square's centre, x to the right
            and y down. The identity is the middle of the square.
        shifts: [B, 2]; where in the square the view's centre lies, (x, y), as a share of the grid.
        grid: see `augment`.

    Returns:
        float32 [B, 3, grid, grid] in 0..1.
    """
    _check(squares, preprocessing, grid)
    out = grid or preprocessing.grid
    step = preprocessing.grid / out  # pixels of the square per pixel of the view
    # A view much coarser than its square would skip pixels; sampled finer and averaged, it sees them all.
    finer = math.floor(step + 0.5)
    count, side = len(squares), preprocessing.side
    device = squares.device
    # Positions count from the centre, in grid_sample's unit where the square spans -1..1 between its outer
    # edges: its centre is then 0 for odd and even sides alike.
    offsets = (torch.arange(out * finer, dtype=torch.float64) - (out * finer - 1) / 2) * (2 * step / finer / side)
    x = offsets.to(device, torch.float32)[None, None, :]  # [1, 1, W]
    y = offsets.to(device, torch.float32)[None, :, None]  # [1, H, 1]
    m = torch.from_numpy(matrices).to(device, torch.float32)[:, :, :, None, None]  # [B, 2, 2, 1, 1]
    s = torch.from_numpy(shifts * (2 * preprocessing.grid / side)).to(device, torch.float32)[:, :, None, None]
    # Written out, because a batched matrix product may round differently from batch size to batch size.
    places = torch.stack([m[:, row, 0] * x + m[:, row, 1] * y + s[:, row] for row in range(2)], dim=-1)  # [B, H, W, 2]
    images = _as_images(squares)  # [B, 3, side, side]
    if count == 0:
        return images.new_empty((0, 3, out, out))
    views = F.grid_sample(images, places, mode="bilinear", padding_mode="reflection", align_corners=False)
    return F.avg_pool2d(views, finer) if finer > 1 else views


def _random_moves(seeds: NDArray[np.int64], settings: Augmentation) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    chance = _uniform(seeds, slots=6)  # [6, B]
    angle = chance[0] * (2 * np.pi) if settings.rotation else np.zeros(len(seeds))
    size = (1 + settings.scale) ** (2 * chance[3] - 1)
    mirror = np.where(chance[1:3] < 0.5, -1.0, 1.0) if settings.flips else np.ones((2, len(seeds)))
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], 1)  # [B, 2, 2]
    matrices = turn * (mirror / size).T[:, None, :]
    return matrices, settings.shift * (2 * chance[4:6].T - 1)


def _blur(views: Tensor, seeds: NDArray[np.int64], most: float) -> Tensor:
    """Put most views out of focus: Gaussian, of any width up to `most`, a share of the grid; the others stay sharp."""
    chance = _uniform(seeds, slots=2, first=14)  # [2, B]
    height, width = views.shape[-2:]
    sigma = np.where(chance[0] < BLURRED, most * height * chance[1], 0.0)
    reach = min(math.ceil(3 * most * height), height - 1, width - 1)
    offsets = np.arange(-reach, reach + 1)
    bells = np.exp(-(offsets**2) / (2 * np.maximum(sigma, 1e-3)[:, None] ** 2))  # [B, 2 reach + 1]
    kernels = torch.from_numpy(bells / bells.sum(axis=1, keepdims=True)).to(views.device, torch.float32)
    kernels = kernels.repeat_interleave(3, dim=0)  # [3 B, 2 reach + 1]
    rows = views.reshape(1, -1, height, width)  # each color of each view is a channel with a kernel of its own
    rows = F.conv2d(F.pad(rows, (reach, reach, 0, 0), mode="reflect"), kernels[:, None, None, :], groups=len(kernels))
    rows = F.conv2d(F.pad(rows, (0, 0, reach, reach), mode="reflect"), kernels[:, None, :, None], groups=len(kernels))
    return rows.reshape(views.shape)


def _restain(views: Tensor, seeds: NDArray[np.int64], settings: Augmentation) -> Tensor:
    """Change stain and light in optical density, where a stain's amount is proportional (Beer-Lambert)."""
    chance = torch.from_numpy(2 * _uniform(seeds, slots=6, first=8) - 1).to(views.device, torch.float32)
    factor = torch.exp(settings.stain * chance[0:3].T).contiguous()[:, :, None, None]  # [B, 3, 1, 1]
    offset = (0.2 * settings.stain * chance[3:6].T).contiguous()[:, :, None, None]
    density = views.clamp(min=1 / 255).log_().neg_()  # [B, 3, H, W]; black has no finite density
    density = density.mul_(factor).add_(offset)
    if settings.mixing > 0:
        parts = torch.from_numpy(2 * _uniform(seeds, slots=6, first=16) - 1).to(views.device, torch.float32).T
        parts = (settings.mixing * parts).contiguous().reshape(-1, 3, 2, 1, 1)  # [B, to, of which other, 1, 1]
        red, green, blue = (density[:, color] for color in range(3))
        others = ((green, blue), (red, blue), (red, green))
        mixed = [
            density[:, to] + parts[:, to, 0] * first + parts[:, to, 1] * second
            for to, (first, second) in enumerate(others)
        ]
        density = torch.stack(mixed, dim=1).clamp_(min=0)
    return density.neg_().exp_().clamp_(0, 1)


def _uniform(seeds: NDArray[np.int64], slots: int, first: int = 0) -> NDArray[np.float64]:
    """Numbers in 0..1 that depend on seed and slot only, [slots, B].

    Source: the finalizer of SplitMix64 (Steele, Lea, Flood 2014, doi 10.1145/2714064.2660195), applied
    twice so that neighboring seeds do not share slots.
    """
    golden = np.uint64(0x9E3779B97F4A7C15)
    slot = np.arange(first + 1, first + slots + 1, dtype=np.uint64)[:, None]
    mixed = _mix(_mix(seeds.astype(np.uint64) + golden)[None, :] + slot * golden)
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _as_images(squares: Tensor) -> Tensor:
    channels_first = squares.permute(0, 3, 1, 2)
    return channels_first.to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def _check(squares: Tensor, preprocessing: Preprocessing, grid: int | None) -> None:
    side = preprocessing.side
    if squares.dtype != torch.uint8 or squares.shape[1:] != (side, side, 3):
        raise UsageError(
            f"squares must be uint8 [B, {side}, {side}, 3] for {preprocessing}; "
            f"got {squares.dtype} {list(squares.shape)}"
        )
    if grid is not None and not 2 <= grid <= preprocessing.grid:
        raise UsageError(f"grid {grid} must be at least 2 and at most {preprocessing.grid}, the squares' own")
