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

from leukonca.data.appearance import Strengths, change_looks
from leukonca.data.augmentation import Augmentation
from leukonca.data.background import background_color
from leukonca.data.chance import Seeds, uniform
from leukonca.data.colors import Color
from leukonca.data.preprocessing import Preprocessing
from leukonca.data.stain import Levels, Stain, stained
from leukonca.errors import UsageError

CUT = 0.5
"""Share of the views that are cut out, where that is on."""

MILD = 0.2
"""How strong the changes of mild views are, beside those of the others."""


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
        settings: what may change; its `levels` are left to `normalise`.
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
    mild = uniform(numbers, slots=1, first=30)[0] < settings.mild  # [B]
    strengths = np.where(mild, MILD, 1.0)
    if settings.cut > 0:
        squares = _cut_out(squares, preprocessing, numbers, settings.cut, spared=mild)
    if settings.moves:
        matrices, shifts = _random_moves(numbers, settings, strengths)
        views = sample_views(squares, preprocessing, matrices, shifts, grid=grid)
    else:
        views = centre_images(squares, preprocessing, grid=grid)
    return change_looks(views, numbers, settings, strengths)


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
    return as_images(squares[:, inner, inner])


def as_images(views: Tensor) -> Tensor:
    """Pixels as numbers: uint8 [B, H, W, 3] -> float32 [B, 3, H, W] in 0..1."""
    channels_first = views.permute(0, 3, 1, 2)
    return channels_first.to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def normalise(images: Tensor, mean: Color, std: Color, stain: Stain, levels: Levels | None = None) -> Tensor:
    """Images in 0..1, [B, 3, H, W], to zero mean and unit variance of the training center's colors.

    Args:
        images: float32, on the CPU unless `stain` is plain.
        mean: of red, green, blue, after `stain`.
        std: likewise.
        stain: what is done to each image's colors first: `leukonca.data.stain`.
        levels: of training views, from `leukonca.data.levels`; of no effect where `stain` is plain.
    """
    if stain != "plain":
        images = torch.from_numpy(stained(images.numpy(), stain, levels))
    return (images - images.new_tensor(mean)[:, None, None]) / images.new_tensor(std)[:, None, None]


def sample_views(
    squares: Tensor,
    preprocessing: Preprocessing,
    matrices: NDArray[np.float64],
    shifts: NDArray[np.float64],
    *,
    grid: int | None = None,
) -> Tensor:
    """Views of the squares under given affine maps about their centres; bilinear, continued as `preprocessing` says.

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
    images = as_images(squares)  # [B, 3, side, side]
    if count == 0:
        return images.new_empty((0, 3, out, out))
    if preprocessing.beyond == "background":  # what lies outside is 0 to grid_sample
        around = np.stack([background_color(square) for square in squares.cpu().numpy()]).astype(np.float32) / 255
        glass = torch.from_numpy(around).to(device)[:, :, None, None]  # [B, 3, 1, 1]
        views = F.grid_sample(images - glass, places, mode="bilinear", padding_mode="zeros", align_corners=False)
        views = (views + glass).clamp_(0, 1)
    else:
        views = F.grid_sample(images, places, mode="bilinear", padding_mode="reflection", align_corners=False)
    return F.avg_pool2d(views, finer) if finer > 1 else views


def _random_moves(
    seeds: Seeds, settings: Augmentation, strengths: Strengths
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    chance = uniform(seeds, slots=6)  # [6, B]
    angle = chance[0] * (2 * np.pi) if settings.rotation else np.zeros(len(seeds))
    size = (1 + settings.scale) ** (strengths * (2 * chance[3] - 1))
    mirror = np.where(chance[1:3] < 0.5, -1.0, 1.0) if settings.flips else np.ones((2, len(seeds)))
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], 1)  # [B, 2, 2]
    matrices = turn * (mirror / size).T[:, None, :]
    return matrices, settings.shift * (2 * chance[4:6].T - 1)


def _cut_out(
    squares: Tensor, preprocessing: Preprocessing, seeds: Seeds, shortest: float, *, spared: NDArray[np.bool_]
) -> Tensor:
    """Leave of half of the squares a box about the middle only, of any sides from `shortest` grids to the square's."""
    chance = uniform(seeds, slots=3, first=27)  # [3, B]
    least = min(max(2.0, shortest * preprocessing.grid), preprocessing.side)
    sides = least + chance[1:] * (preprocessing.side - least)  # [2, B]
    cut = squares.cpu().numpy().copy()
    for index in np.flatnonzero((chance[0] < CUT) & ~spared):
        y, x = np.rint((preprocessing.side - sides[:, index]) / 2).astype(int)
        inner = np.s_[index, y : preprocessing.side - y, x : preprocessing.side - x]
        kept = cut[inner].copy()
        cut[index] = background_color(kept)
        cut[inner] = kept
    return torch.from_numpy(cut).to(squares.device)


def _check(squares: Tensor, preprocessing: Preprocessing, grid: int | None) -> None:
    side = preprocessing.side
    if squares.dtype != torch.uint8 or squares.shape[1:] != (side, side, 3):
        raise UsageError(
            f"squares must be uint8 [B, {side}, {side}, 3] for {preprocessing}; "
            f"got {squares.dtype} {list(squares.shape)}"
        )
    if grid is not None and not 2 <= grid <= preprocessing.grid:
        raise UsageError(f"grid {grid} must be at least 2 and at most {preprocessing.grid}, the squares' own")
