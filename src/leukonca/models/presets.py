"""Architectures by name."""

from dataclasses import dataclass
from types import MappingProxyType

from leukonca.errors import UsageError

POOLINGS = ("max",)
"""How the last state becomes one feature per channel."""


@dataclass(frozen=True)
class Architecture:
    """What an automaton with its head is made of.

    Args:
        channels: of the state, the image's three included.
        hidden: width of the rule's hidden layer and of the head's.
        steps: of a rollout.
        fire_rate: expected share of cells that fire in a step, in (0, 1].
        grid: side of the grid, cells.
        pooling: see `POOLINGS`.

    Raises:
        UsageError: a value that describes no automaton.
    """

    channels: int = 128
    hidden: int = 128
    steps: int = 64
    fire_rate: float = 0.5
    grid: int = 64
    pooling: str = "max"

    def __post_init__(self) -> None:
        lowest = {"channels": 4, "hidden": 1, "steps": 1, "grid": 2}
        for name, least in lowest.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UsageError(f"{name} is {value!r}: must be a whole number of at least {least}")
        if not 0 < self.fire_rate <= 1:
            raise UsageError(f"fire_rate is {self.fire_rate!r}: must be above 0 and at most 1")
        if self.pooling not in POOLINGS:
            raise UsageError(f"pooling {self.pooling!r}: there are {', '.join(POOLINGS)}")


PRESETS = MappingProxyType(
    {
        "paper": Architecture(),
        "compact": Architecture(channels=48, hidden=96, steps=24, grid=48),
        "tiny": Architecture(channels=16, hidden=32, steps=12, grid=24),
    }
)
"""`paper`: Deutges et al. 2024, 86,413 parameters with 13 classes. `compact`: for CPUs. `tiny`: for tests."""


def preset(name: str) -> Architecture:
    """The architecture of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in PRESETS:
        raise UsageError(f"preset {name!r}: there are {', '.join(PRESETS)}")
    return PRESETS[name]
