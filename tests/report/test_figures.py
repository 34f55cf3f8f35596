"""What the drawings show, read back from their SVG."""

import base64
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from leukonca.evaluation.calibration import reliability
from leukonca.evaluation.uncertainty import risk_coverage
from leukonca.report import figures

SVG = "{http://www.w3.org/2000/svg}"


def read(picture):
    return ElementTree.fromstring(base64.b64decode(picture.partition(",")[2]))


def group(root, name):
    (found,) = [each for each in root.iter(f"{SVG}g") if each.get("id") == name]
    return found


def points(root, name):
    """Corners of the named line, [points, 2] in the drawing's own units (y grows downwards)."""
    line = group(root, name).find(f"{SVG}path").get("d")
    return np.array(re.findall(r"[ML] ([\d.-]+) ([\d.-]+)", line), dtype=float)


def is_scaled(drawn, values):
    """Drawn positions are the values but for one scale and shift."""
    return abs(np.corrcoef(drawn, values)[0, 1]) == pytest.approx(1, abs=1e-7)


def test_confusion_is_darker_where_the_share_is_larger():
    confusion = np.array([[8, 2, 0, 0], [10, 70, 20, 0], [0, 0, 0, 0], [3, 3, 1, 0]])
    root = read(figures.confusion_picture(confusion, [0, 1, 3], [0, 1, 2], ["a", "b", "c", "d"]))
    cells = [path for path in group(root, "shares").iter(f"{SVG}path") if "fill: #" in path.get("style", "")]
    colors = [re.search("fill: #(..)(..)(..)", cell.get("style")).groups() for cell in cells]
    light = np.array([[int(part, 16) for part in color] for color in colors]) @ [0.299, 0.587, 0.114]
    share = np.array([0.8, 0.2, 0, 0.1, 0.7, 0.2, 3 / 7, 3 / 7, 1 / 7])
    assert len(light) == 9
    assert light[1] == light[5]
    order = np.argsort(share, kind="stable")
    assert (np.diff(light[order])[np.diff(share[order]) > 1e-9] < 0).all()
    corners = [[float(n) for n in re.search(r"M ([\d.]+) ([\d.]+)", cell.get("d")).groups()] for cell in cells]
    assert corners[1][0] > corners[0][0]  # the next column is to the right
    assert corners[3][1] > corners[0][1]  # the next true class is beneath


def test_rows_of_untrained_classes_say_so():
    confusion = np.array([[8, 2], [10, 70]])
    plain, marked = (
        len(list(read(figures.confusion_picture(confusion, [0, 1], [0, 1], ["a", "b"], untrained)).iter(f"{SVG}use")))
        for untrained in ((), {1})
    )
    assert marked - plain == len(", never trained on")  # once


def test_learning_curve_goes_through_the_log():
    log = [
        {
            "epoch": e,
            "loss": 1 / (e + 1),
            "accuracy": 0.1 * e,
            "validation_loss": 1.1 / (e + 1),
            "validation_accuracy": 0.08 * e,
        }
        for e in range(1, 6)
    ]
    root = read(figures.learning_picture(log))
    drawn = {key: points(root, key) for key in ("loss", "accuracy", "validation_loss", "validation_accuracy")}
    for key, line in drawn.items():
        assert len(line) == 5
        assert is_scaled(line[:, 0], [entry["epoch"] for entry in log])
        assert is_scaled(line[:, 1], [entry[key] for entry in log])
    assert (drawn["validation_loss"][:, 1] < drawn["loss"][:, 1]).all()  # a larger loss is higher up
    assert (drawn["validation_accuracy"][:, 1] > drawn["accuracy"][:, 1]).all()


def test_reliability_diagram_goes_through_the_bins():
    generator = np.random.default_rng(0)
    bins = reliability(generator.dirichlet(np.ones(3), 400), generator.integers(0, 3, 400))
    filled = bins.count > 0
    line = points(read(figures.reliability_picture(bins)), "model")
    assert is_scaled(line[:, 0], bins.confidence[filled])
    assert is_scaled(line[:, 1], bins.accuracy[filled])


def test_risk_coverage_curve_goes_through_the_risks():
    generator = np.random.default_rng(3)
    coverage, risk = risk_coverage(generator.random(30), generator.random(30) < 0.4)
    root = read(figures.risk_coverage_picture(coverage, risk, (0.5, 0.2)))
    line = points(root, "risk")
    assert len(line) == 30
    assert is_scaled(line[:, 0], coverage)
    assert is_scaled(line[:, 1], risk)
    square = next(group(root, "unflagged").iter(f"{SVG}use"))
    place = np.array([float(square.get(name)) for name in "xy"])
    at_half = line[[14, 29]]  # coverage 1/2 and 1
    assert place[0] == pytest.approx(at_half[0, 0], abs=0.1)
    scale = (line[:, 1].max() - line[:, 1].min()) / (risk.max() - risk.min())
    assert place[1] == pytest.approx(line[29, 1] + scale * (risk[29] - 0.2), abs=0.1)
    figures.risk_coverage_picture(np.ones(1), np.zeros(1), None)  # one cell, and it is right


def test_labels_with_mathematics_signs_are_drawn_as_they_are():
    names = ["$\\frac{", "a_b^c", "\u767d\u8840\u7403", "x" * 300]
    figures.confusion_picture(np.eye(4, dtype=np.int64), [0, 1, 2, 3], [0, 1, 2, 3], names)
