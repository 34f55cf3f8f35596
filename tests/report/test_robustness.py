"""What a page shows of corrupted images, against the numbers given."""

import base64
import json

import numpy as np
import pytest
from matplotlib.colors import rgb_to_hsv, to_rgb

from leukonca.report.content import RunReport
from leukonca.report.robustness import robustness_figure, robustness_rows
from leukonca.report.run import write_run_report
from leukonca.report.summary import summary_table

KINDS = ("blur", "noise", "jpeg", "dust", "hue")


def score(value, width=None):
    return {
        "value": value,
        "low": None if width is None else max(0.0, value - width),
        "high": None if width is None else min(1.0, value + width),
    }


@pytest.fixture
def facts():
    rng = np.random.default_rng(0)
    return {
        "images": 1234,
        "clean": {"accuracy": score(0.9, 0.02), "balanced_accuracy": score(0.8), "ece": score(0.05)},
        "shifted_accuracy": 0.615,
        "relative_loss": 0.316,
        "kinds": {
            name: {
                "what": f"what {name} is",
                "unit": "um",
                "strengths": [1, 3, 5],
                "values": [0.25, 2.0, 1000.0],
                "accuracy": [score(value, 0.05) for value in rng.random(3).tolist()],
                "balanced_accuracy": [score(value) for value in rng.random(3).tolist()],
                "ece": [score(value) for value in rng.random(3).tolist()],
                "relative_loss": None if name == "dust" else 0.123,
            }
            for name in KINDS
        },
    }


def test_every_line_runs_through_its_numbers_from_the_unchanged_image_on(facts):
    figure = robustness_figure(facts)
    shown = [panel for panel in figure.axes if panel.get_visible()]
    assert [panel.get_title() for panel in shown] == [f"{name}: what {name} is" for name in KINDS]
    for panel, name in zip(shown, KINDS, strict=True):
        lines = {line.get_gid(): line for line in panel.lines}
        for key in ("accuracy", "balanced_accuracy", "ece"):
            given = [facts["clean"][key], *facts["kinds"][name][key]]
            line = lines[f"{name}-{key}"]
            assert line.get_xdata().tolist() == [0, 1, 3, 5]
            np.testing.assert_allclose(line.get_ydata(), [100 * each["value"] for each in given])
        (band,) = panel.collections
        reached = band.get_paths()[0].vertices[:, 1]
        ends = [
            100 * each[end]
            for each in [facts["clean"]["accuracy"], *facts["kinds"][name]["accuracy"]]
            for end in ("low", "high")
        ]
        assert (reached.min(), reached.max()) == pytest.approx((min(ends), max(ends)))


def test_lines_are_told_apart_without_color(facts):
    lines = robustness_figure(facts).axes[0].lines
    assert len({(line.get_marker(), line.get_linestyle()) for line in lines}) == 3
    gray = sorted(float(rgb_to_hsv(to_rgb(line.get_color()))[2]) for line in lines)
    assert gray[-1] < 0.8  # none too pale for paper


@pytest.mark.parametrize("count", [1, 2, 5])
def test_as_many_panels_as_kinds(facts, count):
    facts["kinds"] = dict(list(facts["kinds"].items())[:count])
    visible = [panel for panel in robustness_figure(facts).axes if panel.get_visible()]
    assert len(visible) == count
    assert any(panel.get_xlabel() == "strength" for panel in visible)


def test_a_page_tells_the_numbers_and_one_without_them_does_not(facts, make_result, tmp_path, read_page):
    with_it, without = make_result(), make_result("there", seed=1)
    with_it.metrics["robustness"] = json.loads(json.dumps(facts))
    made = RunReport(title="t", command="c", results=(with_it, without))
    write_run_report(tmp_path / "a.html", made)
    page = read_page((tmp_path / "a.html").read_text(encoding="utf-8"))
    (table,) = [each for each in page.tables if each[0][0] == "Corruption"]
    assert table[0] == ["Corruption", "1", "3", "5", "Loss"]
    assert [row[0].split("|")[0] for row in table[1:]] == list(KINDS)
    for row, name in zip(table[1:], KINDS, strict=True):
        given = facts["kinds"][name]
        for cell, accuracy, ece, value in zip(
            row[1:4], given["accuracy"], given["ece"], ("0.25", "2", "1000"), strict=True
        ):
            assert cell == f"{100 * accuracy['value']:.1f}%|{100 * ece['value']:.1f}%|{value}"
        assert row[4] == ("–" if name == "dust" else "12.3%")
    assert page.text.count("What worse images cost") == 1
    assert (
        "1,234 of these images, corrupted in 5 ways: 90.0% named correctly as they are, 61.5% on average" in page.text
    )
    assert "mean relative loss 31.6%" in page.text
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    chart = next(image for image in page.all("img") if "strength of each corruption" in image["alt"])
    svg = base64.b64decode(chart["src"].partition(",")[2]).decode()
    assert all(f'id="{name}-ece"' in svg for name in KINDS)
    line = next(line for line in summary_table(made.results).splitlines() if "corrupted" in line)
    assert line == "here: 61.5% right when corrupted, 90.0% of the same 1,234 when not"


def test_rows_say_what_cannot_be_said(facts):
    rows = list(robustness_rows(facts))
    assert rows[3]["loss"] == "–"
    assert rows[0]["what"] == "what blur is; um"
