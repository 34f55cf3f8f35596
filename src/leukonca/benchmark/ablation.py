"""Variants of a model that differ in one setting, as in the paper's figure 3."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from leukonca.benchmark.models import find_runner
from leukonca.benchmark.plan import Variant
from leukonca.benchmark.settings import changed
from leukonca.errors import UsageError


@dataclass(frozen=True)
class Axis:
    """A setting of the automaton that is varied.

    Args:
        setting: its name.
        values: tried by default where the model can have them, and beside them what the model has itself.
        also: further settings that must follow it: (settings, value) -> name and value of each.
    """

    setting: str
    values: tuple[float, ...]
    also: Callable[[Mapping[str, Any], float], Mapping[str, Any]] = lambda settings, value: {}


def _with_grid(settings: Mapping[str, Any], grid: float) -> dict[str, Any]:
    """Margin and small grid keep their share of the grid, so that the automaton sees the same field."""
    share = grid / settings["architecture"]["grid"]
    small = settings["small_grid"]
    return {
        "margin": round(settings["margin"] * share),
        "small_grid": None if small is None else max(2, min(int(grid), round(small * share))),
    }


AXES: Mapping[str, Axis] = MappingProxyType(
    {
        "channels": Axis("channels", (16, 32, 64, 128)),
        "steps": Axis("steps", (8, 16, 32, 64)),
        "fire-rate": Axis("fire_rate", (0.25, 0.5, 0.75, 1.0)),
        "grid": Axis("grid", (16, 24, 32, 48, 64), _with_grid),
    }
)
"""Name on the command line -> axis. The channels are those of Deutges et al. 2024, figure 3; those that do not hold the
image are left out."""


def ablation(
    name: str, settings: Mapping[str, Any], values: Sequence[float] = (), *, model: str = "nca"
) -> tuple[Variant, ...]:
    """One variant a value.

    Args:
        name: of the axis.
        settings: of the model, as its runner gives them.
        values: to try; none: those of the axis.
        model: a key of the runners.

    Raises:
        UsageError: no such axis, or a value that cannot be meant.
    """
    if name not in AXES:
        raise UsageError(f"ablate {name!r}: there are {', '.join(AXES)}")
    axis, runner = AXES[name], find_runner(model)
    variants = []
    for value in sorted(set(values or _defaults(axis, settings))):
        number = int(value) if float(value).is_integer() and axis.setting != "fire_rate" else value
        those = changed(settings, {axis.setting: number, **axis.also(settings, value)})
        variants.append(
            Variant(f"{model}-{name}-{value:g}", model, runner.checked(those, scale_known=True), float(value))
        )
    return tuple(variants)


def _defaults(axis: Axis, settings: Mapping[str, Any]) -> tuple[float, ...]:
    architecture = settings["architecture"]
    if axis.setting not in architecture:  # of another kind of model, which is refused with the first value
        return axis.values
    fewest = 3 * architecture["patch"] ** 2 if axis.setting == "channels" else 0  # the image's own
    return (*(value for value in axis.values if value > fewest), architecture[axis.setting])
