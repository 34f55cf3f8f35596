"""The rollout as a short film: the top channels and the prediction, step by step."""

import io
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from leukonca.explain.explanation import Explanation
from leukonca.explain.panels import AGAINST, FOR

FilmKind = Literal["webp", "gif"]
"""Small and in full color; or what any slide program takes, in 256 colors."""

_TILE, _GAP, _HEAD = 132, 8, 22
_SECONDS = 4.0
"""Of one pass; the last frame stays for a while."""


def animation(e: Explanation, channels: int = 4, *, kind: FilmKind = "webp") -> bytes:
    """A looping film: what the model saw, its top channels after each step, and the probability of the class.

    Args:
        e: what to show.
        channels: how many at most.
        kind: of file.
    """
    frames = [_frame(e, step, channels) for step in range(e.steps)]
    each = max(20, 10 * round(100 * _SECONDS / e.steps))  # a GIF counts hundredths of a second
    settings: dict[str, Any] = {"quality": 60, "method": 0} if kind == "webp" else {"optimize": False}
    data = io.BytesIO()
    frames[0].save(
        data,
        format=kind.upper(),
        save_all=True,
        append_images=frames[1:],
        duration=[each] * (e.steps - 1) + [1500],
        loop=0,
        **settings,
    )
    return data.getvalue()


def still(e: Explanation, channels: int = 4) -> bytes:
    """The last frame alone, for readers who want nothing to move: PNG."""
    data = io.BytesIO()
    _frame(e, e.steps - 1, channels).save(data, format="PNG", optimize=True)
    return data.getvalue()


def _frame(e: Explanation, step: int, channels: int) -> Image.Image:
    leading = e.top[:channels]
    sheet = Image.new("RGB", ((1 + len(leading)) * (_TILE + _GAP) - _GAP, 2 * _HEAD + _TILE), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    probability = float(e.by_step[step, e.classes.index(e.target)])
    name = e.target.replace("_", " ")
    draw.text((0, 3), f"step {step + 1:>2} of {e.steps}   {name} {100 * probability:.0f}%", "black", font)
    sheet.paste(_tile(e.image), (0, _HEAD))
    for place, c in enumerate(leading):
        left = (1 + place) * (_TILE + _GAP)
        sheet.paste(_tile(_bytes(e.history[:, place], step)), (left, _HEAD))
        color = FOR if e.channels[c] >= 0 else AGAINST
        draw.text((left, _HEAD + _TILE + 3), f"channel {c}: {float(e.channels[c]):+.2f}", color, font)
    return sheet


def _bytes(history: NDArray[np.float32], step: int) -> NDArray[np.uint8]:
    """One step, on a scale that is the same for all steps."""
    low, high = float(history.min()), float(history.max())
    grey = (history[step] - low) / (high - low) if high > low else np.zeros(history.shape[1:])
    return np.repeat((255 * grey).astype(np.uint8)[:, :, None], 3, axis=2)


def _tile(pixels: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(pixels).resize((_TILE, _TILE), Image.Resampling.NEAREST)
