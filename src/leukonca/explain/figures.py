"""The figures of an explanation. Each is a matplotlib figure of vectors and small rasters, for pages and for print."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from leukonca.drawing import BLUE, INK, ORANGE, PALE, canvas, styled
from leukonca.errors import UsageError
from leukonca.explain import panels
from leukonca.explain.explanation import Explanation
from leukonca.explain.where import QUANTILE, region

_STRONGEST = 0.995
"""Quantile of a map's sizes that has the full color."""

_WORTH_A_LINE = 0.3
"""Share of that size from which on the strongest cells are outlined."""

_GREYS = 63
"""Shades that a channel is drawn in: no eye sees more, and a page with a hundred channels stays small."""

_SHOWN_STEPS = 6
_SHOWN_CLASSES = 4
_LINES = ("-", "--", "-.", ":")
_INKS = (BLUE, ORANGE, "#5a5a5a", "#8a4f9e")


def maps_figure(e: Explanation) -> Figure:
    """What the automaton saw, where its channels look, and which pixels its answer comes from."""
    pixels = e.pixel_map()
    with styled(grid=False):
        wide = 3 if pixels is not None else 2
        figure = canvas(2.75 * wide, 3.4, arrange=False)
        panel = _places(figure, 2.75 * wide, 3.4)
        axes = panel(0.1, 0.3, 2.55, 2.55)
        panels.show(axes, e.image)
        axes.set_title("what the model saw", size=9)
        panels.scale_bar(axes, len(e.image), e.um_per_pixel)
        panels.mask_lines(axes, e.mask)
        for place, (values, title, label) in enumerate(
            (
                (e.heat(), "where its channels look", "relevance of channels"),
                (pixels, "which pixels it comes from", "relevance of pixels"),
            )
        ):
            if values is not None:
                left = 2.85 + 2.75 * place
                axes, below = panel(left, 0.3, 2.55, 2.55), panel(left + 0.3, 2.93, 1.95, 0.1)
                _signed_map(figure, axes, below, e, values, title, label)
        return figure


def channels_figure(e: Explanation) -> Figure:
    """The last state of every channel, the most relevant first, in frames that say what it speaks for."""
    height, width, channels = e.state.shape
    columns = int(np.ceil(np.sqrt(1.7 * channels)))
    rows = -(-channels // columns)
    limit = panels.signed_limit(e.channels)
    across, down = width + max(2, width // 10), height + max(4, height // 4)  # a tile and the gap after it
    order = e.order()
    inches = 8.4 * (rows * down) / (columns * across)
    with styled(grid=False):
        figure = canvas(8.6, inches + 0.75, arrange=False)
        panel = _places(figure, 8.6, inches + 0.75)
        axes = panel(0.1, 0.08, 8.4, inches)
        sheet = np.full((rows * down, columns * across), 1.0)
        for place, c in enumerate(order):
            top, left = (place // columns) * down, (place % columns) * across
            sheet[top : top + height, left : left + width] = _stretched(e.state[:, :, c])
        panels.show(axes, sheet, cmap="gray", vmin=0, vmax=1)
        for place, c in enumerate(order):
            top, left = (place // columns) * down, (place % columns) * across
            value = float(e.channels[c])
            frame = Rectangle(
                (left - 0.5, top - 0.5),
                width,
                height,
                fill=False,
                linewidth=2.2 if c in e.top else 1.4,
                edgecolor=panels.sign_colors(value, limit) if value else "#c8c8c8",
                linestyle="--" if value < 0 else "-",
            )
            axes.add_patch(frame)
            label = f"{c}: {value:+.2f}" if value else f"{c}: 0"
            middle = top + (height + down) / 2 - 0.5
            axes.text(left + width / 2, middle, label, ha="center", va="center", size=min(6.5, 62 / columns), color=INK)
        axes.set_xlim(-2, sheet.shape[1])
        axes.set_ylim(sheet.shape[0], -2)
        bar = figure.colorbar(_scale(limit), cax=panel(2.6, inches + 0.15, 3.4, 0.1), orientation="horizontal")
        _quiet_bar(bar, f"relevance for {_plain(e.target)} (dashed: against it)")
        return figure


def top_figure(e: Explanation, quantile: float = QUANTILE) -> Figure:
    """The most relevant channels, each with what it looks at over the cell; the cross is the cell that won."""
    columns = min(6, len(e.top))
    rows = -(-len(e.top) // columns)
    with styled(grid=False):
        figure = canvas(1.45 * columns, 1.68 * rows, arrange=False)
        panel = _places(figure, 1.45 * columns, 1.68 * rows)
        for place, c in enumerate(e.top):
            axes = panel(0.05 + 1.45 * (place % columns), 0.25 + 1.68 * (place // columns), 1.35, 1.35)
            value, color = float(e.channels[c]), panels.FOR if e.channels[c] >= 0 else panels.AGAINST
            panels.show(axes, e.image)
            panels.outline(axes, e.region(c, quantile), color, dashed=value < 0, width=1.4)
            panels.cross(axes, *e.winning_pixels[c].tolist())
            axes.set_title(f"channel {c}: {value:+.2f}", size=8)
            if place == 0:
                panels.scale_bar(axes, len(e.image), e.um_per_pixel)
        return figure


def check_shown(at: Sequence[int], steps: int) -> None:
    """Raise a `UsageError` for steps, counted from 1, that a run of so many steps cannot show side by side."""
    if len(at) > _SHOWN_STEPS or not all(1 <= step <= steps for step in at):
        asked = ", ".join(map(str, at))
        raise UsageError(f"steps to show {asked}: at most {_SHOWN_STEPS} of them, from 1 to {steps}")


def steps_figure(e: Explanation, channels: int = 3, *, at: Sequence[int] = ()) -> Figure:
    """Channels and prediction on the way: the top channels after some steps, and the probabilities after each.

    Args:
        e: what to show.
        channels: how many at most.
        at: the steps at which channels are shown, counted from 1, at most 6; none: evenly spread.

    Raises:
        UsageError: the run has no such step, or they are too many.
    """
    check_shown(at, e.steps)
    shown = np.unique(at if at else np.linspace(1, e.steps, _SHOWN_STEPS).round().astype(int))
    leading = e.top[:channels]
    side, left = 1.2, 0.95
    deep = 0.3 + (side + 0.08) * len(leading)
    whole = deep + 2.4 + (1.0 if e.read is not None else 0)
    with styled(grid=False):
        figure = canvas(8.6, whole, arrange=False)
        panel = _places(figure, 8.6, whole)
        for row, c in enumerate(leading):
            values = e.history[:, row]  # [steps, h, w]
            low, high = float(values.min()), float(values.max())
            for column, step in enumerate(shown):
                axes = panel(left + 1.27 * column, 0.25 + (side + 0.08) * row, side, side)
                panels.show(axes, _stretched(values[step - 1], low, high), cmap="gray", vmin=0, vmax=1)
                if row == 0:
                    axes.set_title(f"step {step}", size=8)
            figure.text(
                (left - 0.08) / 8.6, 1 - (0.25 + (side + 0.08) * row + side / 2) / whole,
                f"channel {c}\n{float(e.channels[c]):+.2f}", size=8, ha="right", va="center",
            )  # fmt: skip
        lines = panel(left, deep + 0.15, 5.6, 1.75)
        _probabilities(lines, e, shown)
        if e.read is not None:
            lines.tick_params(labelbottom=False)
            _reading(panel(left, deep + 2.05, 5.6, 0.8), e)
        else:
            lines.set_xlabel("step")
        return figure


def _places(figure: Figure, width: float, height: float) -> Callable[[float, float, float, float], Axes]:
    """Axes by left, top, width and height, in inches from the upper left corner."""

    def place(left: float, top: float, wide: float, high: float) -> Axes:
        return figure.add_axes((left / width, 1 - (top + high) / height, wide / width, high / height))

    return place


def _signed_map(
    figure: Figure, axes: Axes, below: Axes, e: Explanation, values: NDArray[np.float32], title: str, label: str
) -> None:
    """A signed map over the pale cell; lines around the strongest 2% either way."""
    limit = panels.signed_limit(values, _STRONGEST)  # single pixels above it would leave the rest pale
    shade = panels.sign_colors(values, limit)[:, :, :3]
    opacity = np.sqrt(np.clip(np.abs(values) / limit, 0, 1))[:, :, None]
    mixed = (opacity * shade + (1 - opacity) * panels.grey(e.image) / 255).clip(0, 1)
    panels.show(axes, (255 * mixed).astype(np.uint8))
    axes.set_title(title, size=9)
    for sign, color in ((1, panels.FOR), (-1, panels.AGAINST)):
        strong = region(sign * values, QUANTILE) & (sign * values > _WORTH_A_LINE * limit)
        panels.outline(axes, strong, color, dashed=sign < 0)
    panels.mask_lines(axes, e.mask)
    panels.scale_bar(axes, len(e.image), e.um_per_pixel)
    bar = figure.colorbar(_scale(limit), cax=below, orientation="horizontal", extend="both")
    _quiet_bar(bar, label)


def _quiet_bar(bar: Any, label: str) -> None:
    bar.set_label(label, size=8)
    bar.ax.tick_params(labelsize=7)
    bar.ax.locator_params(nbins=4)
    bar.outline.set_visible(False)


def _scale(limit: float) -> Any:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(-limit, limit), panels.SIGNED)


def _stretched(values: NDArray[Any], low: float | None = None, high: float | None = None) -> NDArray[np.float64]:
    """Values from 0 to 1; what is flat is black."""
    low, high = float(values.min()) if low is None else low, float(values.max()) if high is None else high
    if high <= low:
        return np.zeros(values.shape)
    return np.round((values.astype(np.float64) - low) / (high - low) * _GREYS) / _GREYS


def _probabilities(axes: Axes, e: Explanation, shown: NDArray[np.int64]) -> None:
    leading = [e.classes.index(e.target)]
    leading += [int(k) for k in np.argsort(-e.by_step.max(axis=0), kind="stable") if k not in leading]
    steps = np.arange(1, e.steps + 1)
    for place, k in enumerate(leading[:_SHOWN_CLASSES]):
        axes.plot(
            steps, e.by_step[:, k], _LINES[place], color=_INKS[place], label=_plain(e.classes[k]), linewidth=1.8,
            gid=e.classes[k],
        )  # fmt: skip
    for step in shown:
        axes.axvline(step, color=PALE, linewidth=0.6, zorder=0)
    axes.set(ylim=(-0.02, 1.02), xlim=(0.5, e.steps + 0.5), ylabel="probability")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)


def _reading(axes: Axes, e: Explanation) -> None:
    assert e.read is not None
    steps = np.arange(1, e.steps + 1)
    colors = [panels.FOR if value >= 0 else panels.AGAINST for value in e.read]
    axes.bar(steps, e.read, color=colors, width=0.8)
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.set(xlim=(0.5, e.steps + 0.5), xlabel="step", ylabel="read from\nthe image")


def _plain(name: str) -> str:
    return name.replace("_", " ")
