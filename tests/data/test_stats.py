import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leukonca.data.cells import load_cells
from leukonca.data.colors import color_statistics
from leukonca.data.preprocessing import Preprocessing
from leukonca.data.stats import CenterStats, center_stats, class_figure, write_stats
from leukonca.errors import UsageError
from leukonca.taxonomy import CLASSES

COUNTS = (79, 424, 78, 3268, 70, 42, 15, 109, 8484, 1815, 3937, 11, 0)


def some(name: str = "matek19", counts: tuple[int, ...] = COUNTS) -> CenterStats:
    return CenterStats(name, counts, (0.8, 0.7, 0.6), (0.1, 0.2, 0.3))


def test_colors_are_those_of_numpy():
    images = np.random.default_rng(0).integers(0, 256, (2500, 5, 4, 3), dtype=np.uint8)
    images[..., 2] //= 4
    mean, std = color_statistics(images)
    np.testing.assert_allclose(mean, (images / 255).mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, (images / 255).std((0, 1, 2)), rtol=1e-9)
    plain, none = color_statistics(np.full((3, 2, 2, 3), 51, np.uint8))
    assert plain == pytest.approx((0.2, 0.2, 0.2))
    assert none == pytest.approx((0, 0, 0), abs=1e-7)


def test_a_real_center(shared_data):
    cells = load_cells("acevedo20", shared_data / "acevedo20-originals", Preprocessing(8))
    stats = center_stats("acevedo20", cells)
    assert stats.counts == (8, 8, 8, 0, 8, 8, 8, 8, 8, 8, 8, 0, 0)
    assert stats.images == 80
    np.testing.assert_allclose(stats.mean, (np.asarray(cells.images) / 255).mean((0, 1, 2)))


def test_the_largest_class():
    name, share = some().majority
    assert name == "neutrophil_segmented"
    assert share == pytest.approx(8484 / sum(COUNTS))


def test_files_hold_the_numbers(tmp_path):
    other = some("folder", (0,) * 12 + (5,))
    written = write_stats([some(), other], tmp_path / "new" / "out")
    assert [path.name for path in written] == ["classes.csv", "colors.csv", "classes.png", "classes.svg"]
    rows = list(csv.DictReader(written[0].read_text(encoding="utf-8").splitlines()))
    assert [row["class"] for row in rows] == list(CLASSES)
    assert tuple(int(row["matek19"]) for row in rows) == COUNTS
    assert [int(row["folder"]) for row in rows] == list(other.counts)
    colors = list(csv.DictReader(written[1].read_text(encoding="utf-8").splitlines()))
    assert [row["center"] for row in colors] == ["matek19", "folder"]
    assert float(colors[0]["std_b"]) == 0.3
    with Image.open(written[2]) as picture:
        assert picture.width > 800
        assert len(picture.convert("RGB").getcolors(1_000_000)) > 10
    assert written[3].read_text(encoding="utf-8").startswith("<?xml")
    first = [path.read_bytes() for path in written]
    assert first == [path.read_bytes() for path in write_stats([some(), other], tmp_path / "again")]


def test_bars_are_as_long_as_the_counts():
    stats = [some(), some("folder", tuple(range(13)))]
    panels = class_figure(stats).axes
    for panel, center in zip(panels, stats, strict=True):
        assert [bar.get_width() for bar in panel.patches] == list(center.counts)
        assert panel.get_xscale() == "log"
        assert "logarithmic" in panel.get_xlabel()
        assert center.name in panel.get_title()
        assert [text.get_text() for text in panel.texts] == [f"{n:,}" if n else "none" for n in center.counts]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == [c.replace("_", " ") for c in CLASSES]
    assert panels[0].yaxis_inverted()  # basophil, the first class, is on top


def test_large_libraries_are_imported_only_where_they_are_used():
    code = "import sys, leukonca.cli.data; print(*({'matplotlib', 'torch', 'pooch', 'requests'} & sys.modules.keys()))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert told.stdout.split() == []


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write there"):
        write_stats([some()], Path(tmp_path / "file" / "out"))


def test_any_name_is_shown_as_it_is(tmp_path):
    name = "folder (\udcff $x_1$)"
    classes, colors, _, svg = write_stats([some(name)], tmp_path)
    for path in (classes, colors):
        assert r"folder (\xff $x_1$)" in path.read_text(encoding="utf-8")
    assert r"folder (\xff $x_1$)" in svg.read_text(encoding="utf-8")  # in a comment beside the outlines
