"""Architectures by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal, get_args

from leukonca.errors import UsageError
from leukonca.models.architecture import AnyArchitecture, check_counts

PoolingName = Literal["max", "mean", "topk", "attention"]
"""How the last state becomes one feature per channel; see `leukonca.models.pooling`."""


@dataclass(frozen=True)
class Architecture(AnyArchitecture):
    """What an automaton with its head is made of.

    Args:
        channels: of the state, the image's three included.
        hidden: width of the rule's hidden layer and of the head's.
        steps: of a rollout.
        fire_rate: expected share of cells that fire in a step, in (0, 1].
        grid: side of the grid, cells.
        pooling: how the last state becomes one feature per channel: `leukonca.models.pooling`.

    Raises:
        UsageError: a value that describes no automaton.
    """

    title: ClassVar[str] = "A neural cellular automaton"
    source: ClassVar[str] = "Deutges et al. 2024, arXiv 2404.05584"

    channels: int = 128
    hidden: int = 128
    steps: int = 64
    fire_rate: float = 0.5
    grid: int = 64
    pooling: PoolingName = "max"

    def __post_init__(self) -> None:
        check_counts(self, {"channels": 4, "hidden": 1, "steps": 1, "grid": 2})
        if not 0 < self.fire_rate <= 1:
            raise UsageError(f"fire_rate is {self.fire_rate!r}: must be above 0 and at most 1")
        if self.pooling not in get_args(PoolingName):
            raise UsageError(f"pooling {self.pooling!r}: there are {', '.join(get_args(PoolingName))}")

    def facts(self) -> dict[str, Any]:
        """Size, length and pooling."""
        return {
            "channels": self.channels,
            "steps": self.steps,
            "grid": f"{self.grid} x {self.grid}",
            "fire rate": self.fire_rate,
            "pooling": self.pooling,
        }


PRESETS: Mapping[str, AnyArchitecture] = MappingProxyType(
    {
        "paper": Architecture(),
        "compact": Architecture(channels=48, hidden=96, steps=24, grid=48),
        "tiny": Architecture(channels=16, hidden=32, steps=12, grid=24),
    }
)
"""`paper`: Deutges et al. 2024, 86,413 parameters with 13 classes. `compact`: for CPUs. `tiny`: for tests."""


def preset(name: str) -> AnyArchitecture:
    """The architecture of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in PRESETS:
        raise UsageError(f"preset {name!r}: there are {', '.join(PRESETS)}")
    return PRESETS[name]
