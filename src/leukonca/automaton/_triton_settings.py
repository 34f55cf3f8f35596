"""How the triton engine computes: precision, memory and tiles."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from leukonca.errors import UsageError

PRECISIONS = ("tf32x3", "ieee", "tf32", "bf16")


@dataclass(frozen=True)
class Tile:
    """How one kernel cuts up its work; powers of two.

    Args:
        cells: in one piece.
        channels: in one piece, at most.
        warps: that work on it.
        stages: of loads that run ahead.
        programs: that run at once on a multiprocessor.
        registers: a thread may have at most; None: what the compiler wants.
    """

    cells: int
    channels: int
    warps: int = 4
    stages: int = 1
    programs: int = 1
    registers: int | None = None


@dataclass(frozen=True)
class Settings:
    """How exact, and how lean in memory.

    Args:
        precision: of the matrix products, whose sums are always float32. `tf32x3`: as exact as float32, on tensor
            cores; `ieee`: float32 without tensor cores; `tf32`: 10 bits of mantissa; `bf16`: weights and what they
            are multiplied with in bfloat16, the fast mode.
        state: `float32` or `bfloat16`: how states are stored from step to step.
        keep_every: training keeps the states of every so many-th step and computes those between again in the
            backward pass. 1: keeps the new states of the firing cells of every step, and computes none again.
        resident: weights stay on the chip from tile to tile (without gradients as well as with them); None: where
            they fit; on Hopper, 128 channels and 128 hidden units in `bf16` do.
        forward, hidden, weights, states: tiles of the step and of the three kernels of the backward pass; None: by
            precision.

    Raises:
        UsageError: a value that is none of these.
    """

    precision: str = "tf32x3"
    state: str = "float32"
    keep_every: int = 1
    resident: bool | None = None
    forward: Tile | None = None
    hidden: Tile | None = None
    weights: Tile | None = None
    states: Tile | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UsageError(f"precision {self.precision!r}: there are {', '.join(PRECISIONS)}")
        if self.state not in ("float32", "bfloat16"):
            raise UsageError(f"state {self.state!r}: must be float32 or bfloat16")
        if self.keep_every < 1:
            raise UsageError(f"keep_every is {self.keep_every}: must be at least 1")

    def forward_tile(self, channels: int, units: int, hidden_block: int, memory: int) -> tuple[Tile, bool]:
        """The tile of the step, and whether weights stay on the chip; for padded sizes and the chip's memory, bytes."""
        one_block = channels & (channels - 1) == 0 and units == hidden_block
        fits = one_block and self.precision == "bf16" and 2 * channels * (4 * units + 128) <= memory
        resident = fits if self.resident is None else self.resident and one_block
        if resident:
            tile = self.forward or Tile(cells=64, channels=channels, warps=8)
            return replace(tile, channels=channels), True
        return self.forward or self._tile(64), False

    def hidden_tile(self) -> Tile:
        """Of `through_hidden`."""
        return self.hidden or self._tile(64)

    def weights_tile(self) -> Tile:
        """Of `to_weights`."""
        return self.weights or self._tile(32)

    def states_tile(self) -> Tile:
        """Of `to_states`."""
        return self.states or Tile(cells=8, channels=128, warps=8)

    def _tile(self, fast: int) -> Tile:
        """With the most channels that leave a thread enough registers; in bfloat16, `fast`."""
        return Tile(cells=64, channels=fast if self.precision == "bf16" else 32, warps=8, programs=2)


_current: ContextVar[Settings] = ContextVar("triton_settings", default=Settings())  # noqa: B039  (frozen)


@contextmanager
def settings(**changes: Any) -> Iterator[Settings]:
    """Run the triton engine with other settings: those of `Settings`; the rest stay as they are.

    The backward pass has the settings of its forward pass, wherever it runs.

    Raises:
        UsageError: see `Settings`.

    Example:
        >>> with settings(precision="bf16", state="bfloat16"):
        ...     logits = model(images)
    """
    try:
        chosen = replace(_current.get(), **changes)
    except TypeError as error:
        raise UsageError(f"settings of the triton engine: {error}") from error
    token = _current.set(chosen)
    try:
        yield chosen
    finally:
        _current.reset(token)


def current() -> Settings:
    """The settings in force."""
    return _current.get()
