"""Figures against the arrays that they show: lengths, order, lines; and whether everybody can tell the signs apart."""

import base64
import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from leukonca import Explanation
from leukonca.drawing import svg_text
from leukonca.explain import panels
from leukonca.explain.explainer import Explainer
from leukonca.explain.figures import channels_figure, maps_figure, steps_figure, top_figure
from leukonca.explain.where import region

# Machado, Oliveira and Fernandes 2009, doi 10.1109/TVCG.2009.113, table 1, severity 1.0; for linear RGB.
SEEN_BY = {
    "protanope": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranope": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanope": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


@pytest.fixture(scope="module")
def why(model_folder: Path, cell: np.ndarray) -> Explanation:
    found = Explainer(model_folder)(cell, steps=6)
    assert found.um_per_pixel is not None
    assert (found.channels > 0).any()
    assert (found.channels < 0).any()
    return found


def enclosed(border: PathPatch, side: int) -> np.ndarray:
    """Cells within a border made of single edges: an odd number of its upright edges lies to their left."""
    ends = border.get_path().vertices.reshape(-1, 2, 2)
    walls = np.zeros((side, side + 1), int)
    for (x, y), (x1, y1) in ends.tolist():
        if x == x1:
            walls[int(min(y, y1) + 0.5), int(x + 0.5)] += 1
    return np.cumsum(walls, axis=1)[:, :side] % 2 == 1


def test_the_scale_bar_is_as_long_as_it_says(why: Explanation) -> None:
    axes = maps_figure(why).axes[0]
    (bar,) = (patch for patch in axes.patches if isinstance(patch, Rectangle))
    (label,) = (text.get_text() for text in axes.texts)
    assert bar.get_width() * why.um_per_pixel == pytest.approx(float(label.removesuffix(" µm")))
    assert bar.get_width() <= 0.4 * 24
    assert not maps_figure(replace(why, um_per_pixel=None)).axes[0].patches


def test_lines_go_round_what_a_channel_looks_at(why: Explanation) -> None:
    axes = top_figure(why).axes
    assert len(axes) == len(why.top)
    for panel, c in zip(axes, why.top, strict=True):
        value = float(why.channels[c])
        assert panel.get_title() == f"channel {c}: {value:+.2f}"
        border = [patch for patch in panel.patches if isinstance(patch, PathPatch)][-1]
        assert (enclosed(border, 24) == region(why.state[:, :, c])).all()
        assert (border.get_linestyle() == "-") == (value > 0), "signs can be told in grey"
        (cross,) = panel.lines
        assert (cross.get_ydata()[0], cross.get_xdata()[0]) == tuple(why.winners[c])


def test_all_channels_are_there_the_most_relevant_first(why: Explanation) -> None:
    sheet = channels_figure(why).axes[0]
    told = [re.fullmatch(r"(\d+): ([-+.\d]+)", text.get_text()) for text in sheet.texts]
    assert sorted(int(one[1]) for one in told) == list(range(16))
    values = [float(one[2]) for one in told]
    assert values == sorted(values, reverse=True)
    for one in told:
        assert float(one[2]) == pytest.approx(float(why.channels[int(one[1])]), abs=0.0051)
    frames = [patch for patch in sheet.patches if isinstance(patch, Rectangle)]
    assert [frame.get_linestyle() == "--" for frame in frames] == [value < 0 for value in values]


def test_steps_show_probabilities_and_what_was_read(why: Explanation) -> None:
    figure = steps_figure(why)
    curves = {line.get_gid(): line.get_ydata() for axes in figure.axes for line in axes.lines if line.get_gid()}
    assert why.target in curves
    for name, values in curves.items():
        np.testing.assert_array_equal(values, why.by_step[:, why.classes.index(name)])
    heights = [patch.get_height() for patch in figure.axes[-1].patches]
    np.testing.assert_allclose(heights, why.read)


@pytest.mark.parametrize("draw", [maps_figure, top_figure, steps_figure])
def test_lines_and_letters_are_vectors(draw: Callable[[Explanation], Figure], why: Explanation) -> None:
    """Rasters are the grids that they show, and the shades of a color bar; never a drawing."""
    text = svg_text(draw(why))
    rasters = [Image.open(io.BytesIO(base64.b64decode(data))) for data in re.findall(r"base64,([^\"]+)", text)]
    assert rasters
    assert {raster.size for raster in rasters if raster.height > 10} == {(24, 24)}
    assert text.count("<path") + text.count("<use") > 30
    assert text == svg_text(draw(why))


@pytest.mark.parametrize("eye", SEEN_BY)
def test_the_color_blind_can_tell_for_from_against(eye: str) -> None:
    def seen(color: tuple[float, ...]) -> np.ndarray:
        values = np.array(color[:3])
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        linear = np.clip(np.array(SEEN_BY[eye]) @ linear, 0, 1)
        return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)

    scale = matplotlib.colormaps[panels.SIGNED]
    for one, other in (
        (to_rgb(panels.FOR), to_rgb(panels.AGAINST)),
        (scale(0.9), scale(0.1)),
        (scale(0.75), scale(0.25)),
    ):
        assert deltaE_ciede2000(rgb2lab(seen(one)), rgb2lab(seen(other))) > 15
