"""How pictures are drawn: one style, vectors with the same bytes for the same input."""

import base64
import io
import logging
import re
import warnings
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from leukonca.files import whole_file

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # a first run reports on its font cache

INK, BLUE, ORANGE, PALE = "#222222", "#0b5394", "#c25700", "#b8b8b8"
"""For lines and marks: text, first and second series, what is compared with. Told apart by the color-blind."""

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "leukonca",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "text.parse_math": False,  # a class may be called "$x"
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
    "image.interpolation": "nearest",
}


def styled(*, grid: bool = True) -> AbstractContextManager[None]:
    """Draw within this; the user's own settings are back afterwards."""
    return matplotlib.rc_context({**_STYLE, "axes.grid": grid})


def canvas(width: float, height: float, *, arrange: bool = True) -> Figure:
    """An empty figure, inches; no window is ever opened. Not arranged, it is drawn in a third of the time."""
    return Figure(figsize=(width, height), layout="constrained" if arrange else None)


def svg_text(figure: Figure) -> str:
    """The figure as SVG, the same for the same figure."""
    return _smaller(_save(figure, "svg").decode())


def data_uri(svg: str) -> str:
    """SVG as the source of an ``img``."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def svg_uri(figure: Figure) -> str:
    """The figure as SVG in a data URI."""
    return data_uri(svg_text(figure))


def write_figure(figure: Figure, path: Path) -> None:
    """Write the figure whole or not at all: ``.svg`` or ``.pdf``, as the path ends."""
    kind = path.suffix.lower().removeprefix(".")
    data = svg_text(figure).encode() if kind == "svg" else _save(figure, kind)
    with whole_file(path) as temporary:
        temporary.write_bytes(data)


def _save(figure: Figure, kind: str) -> bytes:
    data = io.BytesIO()
    nothing = {"svg": {"Date": None, "Creator": None}, "pdf": {"CreationDate": None, "Creator": None, "Producer": None}}
    with warnings.catch_warnings(), matplotlib.rc_context(_STYLE):  # its salt makes the names in the file repeatable
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box is drawn; the page has the name
        warnings.filterwarnings("ignore", message="constrained_layout not applied")  # long names: crowded, shown
        figure.savefig(data, format=kind, metadata=nothing[kind])
    return data.getvalue()


def _smaller(svg: str) -> str:
    """The same drawing without comments, metadata, indentation and digits beyond a hundredth of a point."""
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<!DOCTYPE.*?>", "", svg, flags=re.DOTALL)
    svg = " ".join(svg.split()).replace("> <", "><")
    return re.sub(r"\b([1-9]\d*\.\d\d)\d+", r"\1", svg)
