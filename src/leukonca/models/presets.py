"""Architectures by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from leukonca.automaton.rule import IMAGE_CHANNELS
from leukonca.errors import UsageError
from leukonca.models.architecture import AnyArchitecture, check_counts
from leukonca.models.pooling import POOLINGS

if TYPE_CHECKING:
    PoolingName = str
else:  # the command line shows the choices; a checker of types cannot know what a table holds
    PoolingName = Literal[tuple(POOLINGS)]
"""How the last state becomes one feature per channel; see `leukonca.models.pooling`."""


@dataclass(frozen=True)
class Architecture(AnyArchitecture):
    """What an automaton with its head is made of.

    Args:
        channels: of the state, the image's included: three a pixel of `patch`.
        hidden: width of the rule's hidden layer and of the head's.
        steps: of a rollout.
        fire_rate: expected share of cells that fire in a step, in (0, 1].
        grid: side of the image that it sees, pixels; a multiple of `patch`.
        pooling: how the last state becomes one feature per channel: `leukonca.models.pooling`.
        patch: side of the square of pixels that one cell holds: `leukonca.models.patches`. 1, as in the paper: a cell
            is a pixel.

    Raises:
        UsageError: a value that describes no automaton.
    """

    title: ClassVar[str] = "A neural cellular automaton"
    source: ClassVar[str] = "Deutges et al. 2024, arXiv 2404.05584"
    has_hidden_matrices: ClassVar[bool] = True

    channels: int = 128
    hidden: int = 128
    steps: int = 64
    fire_rate: float = 0.5
    grid: int = 64
    pooling: PoolingName = "max"
    patch: int = 1

    @property
    def fires_at_random(self) -> bool:
        """Unless every cell fires in every step."""
        return self.fire_rate < 1

    def __post_init__(self) -> None:
        check_counts(self, {"patch": 1, "channels": 1, "hidden": 1, "steps": 1, "grid": 2 * self.patch})
        if self.channels <= self.image_channels:
            held = f"the {self.patch} x {self.patch} pixels of a cell" if self.patch > 1 else "the image"
            smaller = ", or a smaller patch" if self.patch > 1 else ""
            raise UsageError(
                f"channels is {self.channels!r}: {self.image_channels} hold {held}; give at least "
                f"{self.image_channels + 1}{smaller}"
            )
        if self.grid % self.patch:
            raise UsageError(f"grid {self.grid}: must be a multiple of patch, {self.patch}")
        if not 0 < self.fire_rate <= 1:
            raise UsageError(f"fire_rate is {self.fire_rate!r}: must be above 0 and at most 1")
        if self.pooling not in POOLINGS:
            raise UsageError(f"pooling {self.pooling!r}: there are {', '.join(POOLINGS)}")

    @property
    def weights_fit_any_grid(self) -> bool:
        """Unless an attention map has a weight for each cell."""
        return not POOLINGS[self.pooling].attends

    @property
    def cells(self) -> int:
        """Side of the grid, cells."""
        return self.grid // self.patch

    @property
    def image_channels(self) -> int:
        """Channels of the state that hold the image, the first ones."""
        return IMAGE_CHANNELS * self.patch**2

    def facts(self) -> dict[str, Any]:
        """Size, length and pooling."""
        held = f" cells of {self.patch} x {self.patch} pixels" if self.patch > 1 else ""
        return {
            "channels": self.channels,
            "steps": self.steps,
            "grid": f"{self.cells} x {self.cells}{held}",
            "fire rate": self.fire_rate,
            "pooling": self.pooling,
        }


@dataclass(frozen=True)
class ResNeXtArchitecture(AnyArchitecture):
    """What a ResNeXt is made of; the defaults are ResNeXt-50 32x4d.

    Args:
        grid: side of the images, pixels.
        blocks: of each of the four stages.
        width: base width of the first stage; it doubles from stage to stage.
        groups: that a block's 3 x 3 convolution is divided into.
        group_width: channels of a group in the first stage if `width` is 64; in proportion elsewhere.

    Raises:
        UsageError: a value that describes no network.

    Source: Xie et al. 2017 (arXiv 1611.05431), table 1.
    """

    title: ClassVar[str] = "A ResNeXt"
    source: ClassVar[str] = "Xie et al. 2017, arXiv 1611.05431; on blood cells Matek et al. 2019"

    grid: int = 64
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    width: int = 64
    groups: int = 32
    group_width: int = 4

    @property
    def weights_fit_any_grid(self) -> bool:
        """Its last state is averaged over all places."""
        return True

    def __post_init__(self) -> None:
        check_counts(self, {"grid": 2, "width": 1, "groups": 1, "group_width": 1})
        whole = all(isinstance(count, int) and not isinstance(count, bool) and count >= 1 for count in self.blocks)
        if len(self.blocks) != 4 or not whole:
            raise UsageError(f"blocks is {self.blocks!r}: must be four whole numbers of at least 1")
        if self.inner_width(0) < 1:
            raise UsageError(f"width {self.width}, group_width {self.group_width}: leave no channel in a group")

    def stage_width(self, stage: int) -> int:
        """Base width of a stage, 0-3."""
        return self.width << stage

    def inner_width(self, stage: int) -> int:
        """Channels inside a block of a stage, 0-3."""
        return self.stage_width(stage) * self.group_width // 64 * self.groups

    def facts(self) -> dict[str, Any]:
        """Blocks, widths and input."""
        return {
            "blocks": ", ".join(map(str, self.blocks)),
            "width": self.width,
            "groups": f"{self.groups} x {self.group_width}",
            "input": f"{self.grid} x {self.grid}",
        }


PRESETS: Mapping[str, AnyArchitecture] = MappingProxyType(
    {
        "paper": Architecture(),
        "compact": Architecture(channels=96, steps=14, fire_rate=0.9, pooling="topk", patch=4),
        "tiny": Architecture(channels=16, hidden=32, steps=12, grid=24),
        "resnext": ResNeXtArchitecture(),
        "resnext-small": ResNeXtArchitecture(blocks=(2, 2, 2, 2), width=32, groups=16, group_width=8),
    }
)
"""`paper`: Deutges et al. 2024, 86,413 parameters with 13 classes. `compact`: for CPUs, 65,293. `tiny`: for tests.
`resnext`: the paper's large baseline, 23.0 million parameters. `resnext-small`: a narrower
and shallower one, 3.6 million, for CPUs."""


def preset(name: str) -> AnyArchitecture:
    """The architecture of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in PRESETS:
        raise UsageError(f"preset {name!r}: there are {', '.join(PRESETS)}")
    return PRESETS[name]
