"""Settings of the random views; `leukonca.data.augment` makes them, and `leukonca.data.levels` their levels. Read and
written without torch."""

from dataclasses import dataclass
from typing import Final

from leukonca.errors import UsageError


@dataclass(frozen=True)
class Augmentation:
    """What may change from view to view; the field's centre and the label never do.

    Args:
        rotation: turn by any angle; --no-rotation leaves all upright.
        flips: mirror left-right and top-bottom, each in half of the views; --no-flips mirrors none.
        shift: largest move along each axis, as a share of the grid (0 to 0.5; 0 = off).
        scale: largest relative change of size (0 up to, not including, 1; 0 = off). The factor lies between
            1 / (1 + scale) and 1 + scale, equally likely to shrink and to grow.
        stain: strength of the change of stain and brightness (0 to 1; 0 = off). Each color channel's optical
            density is multiplied by a factor between exp(-stain) and exp(stain) and moved by up to 0.2 stain.
        mixing: how much of each other color's optical density is added to or taken from a color at most (0 to 1;
            0 = off), as dyes of another hue would.
        tone: how far middle tones, between the background and the nucleus, may come near to either (0 to 4; 0 = off),
            in each color for itself, as more or less eosin beside the same azure dyes would move them. 1 changes
            their contrast to the background by a factor between 1/2 and 2.
        redness: log of the largest factor by which the densities of red and green, on the scale from background to
            nucleus, may come nearer to each other or move apart (0 to 3; 0 = off). What eosin colors absorbs more
            green than red; by how much more than a nucleus does differs between laboratories.
        levels: how far background and nucleus may lie from where the image's own percentiles put them (0 to 1; 0 = off;
            only where `stain_normalisation` stretches). Red and green are both multiplied by up to exp(levels) or
            divided by it and moved by up to 0.3 levels, and each alone by exp(0.4 levels) and 0.15 levels besides.
        blur: largest standard deviation of a Gaussian blur, as a share of the grid (0 to 0.1; 0 = off). Six views of
            ten are blurred, by any width up to this.
        noise: largest standard deviation of Gaussian noise, as a share of full scale (0 to 0.5; 0 = off). Six views of
            ten are noisy, by any amount up to this.
        cut: shortest side, as a share of the grid, of the box that half of the views are cut down to, the cell in its
            middle, as other centers cut their cells out (0 to 1; 0 = off). What was around it takes the color of the
            background.
        mild: share of the views (0 to 1) in which scale, stain, mixing, tone, redness, blur and noise are a fifth as
            strong, and nothing is cut: what the training center itself looks like is then seen often, too. Levels
            change as much in these.

    Raises:
        UsageError: a number outside its range.
    """

    rotation: bool = True
    flips: bool = True
    shift: float = 0.05
    scale: float = 0.1
    stain: float = 0.0
    mixing: float = 0.0
    tone: float = 0.0
    redness: float = 0.0
    levels: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    cut: float = 0.0
    mild: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.shift <= 0.5:
            raise UsageError(f"augmentation: shift {self.shift} is no share of the grid; give 0 to 0.5")
        if not 0 <= self.scale < 1:
            raise UsageError(f"augmentation: scale {self.scale} is no relative change; give 0 to below 1")
        if not 0 <= self.stain <= 1:
            raise UsageError(f"augmentation: stain {self.stain} is out of range; give 0 to 1")
        if not 0 <= self.mixing <= 1:
            raise UsageError(f"augmentation: mixing {self.mixing} is out of range; give 0 to 1")
        if not 0 <= self.tone <= 4:
            raise UsageError(f"augmentation: tone {self.tone} is out of range; give 0 to 4")
        if not 0 <= self.redness <= 3:
            raise UsageError(f"augmentation: redness {self.redness} is out of range; give 0 to 3")
        if not 0 <= self.levels <= 1:
            raise UsageError(f"augmentation: levels {self.levels} is out of range; give 0 to 1")
        if not 0 <= self.blur <= 0.1:
            raise UsageError(f"augmentation: blur {self.blur} is no share of the grid to blur by; give 0 to 0.1")
        if not 0 <= self.noise <= 0.5:
            raise UsageError(f"augmentation: noise {self.noise} is no share of full scale; give 0 to 0.5")
        if not 0 <= self.cut <= 1:
            raise UsageError(f"augmentation: cut {self.cut} is no share of the grid; give 0 to 1")
        if not 0 <= self.mild <= 1:
            raise UsageError(f"augmentation: mild {self.mild} is no share of the views; give 0 to 1")

    @property
    def moves(self) -> bool:
        """Whether any pixel changes its place."""
        return self.rotation or self.flips or self.shift > 0 or self.scale > 0


NO_AUGMENTATION: Final = Augmentation(rotation=False, flips=False, shift=0.0, scale=0.0)
"""Everything off: `augment` then gives what `centre_images` gives."""
