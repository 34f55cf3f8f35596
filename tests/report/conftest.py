from collections.abc import Callable
from html.parser import HTMLParser

import numpy as np
import pytest

from leukonca.evaluation.metrics import metrics_with_intervals
from leukonca.report.content import CenterResult
from leukonca.report.run import write_run_report

VOID = {"meta", "img", "br", "wbr", "link", "input", "hr"}


class Page(HTMLParser):
    """What a page holds, by the standard library's parser; fails on tags that do not close in order."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.tables = []
        self.texts = []
        self.style = ""
        self._open = []
        self.feed(text)
        self.close()
        assert self._open == [], self._open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag in ("small", "br") and "table" in self._open:
            self.tables[-1][-1][-1] += "|"

    def handle_endtag(self, tag):
        assert self._open[-1:] == [tag], (tag, self._open)
        self._open.pop()

    def handle_data(self, data):
        if self._open[-1:] == ["style"]:
            self.style += data
            return
        self.texts.append(data)
        if "td" in self._open or "th" in self._open:
            self.tables[-1][-1][-1] += data

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="session")
def read_page() -> type[Page]:
    """Text of a page -> its tags, tables and words."""
    return Page


@pytest.fixture(scope="session")
def make_result() -> Callable[..., CenterResult]:
    """A center with made-up predictions; every thumbnail is one flat color that tells its number."""

    def make(name="here", images=40, classes=("a_b", "c", "d", "e"), seed=0, side=8, draws=30, patients=(), **changes):
        generator = np.random.default_rng(seed)
        labels = generator.integers(0, len(classes) - 1, images)  # the last class has no images
        scores = generator.random((images, len(classes)))
        scores[np.arange(images), labels] += 0.5
        probabilities = scores / scores.sum(axis=1, keepdims=True)
        metrics = metrics_with_intervals(
            probabilities, labels, classes=classes, trained_classes=classes[:2], patients=patients, draws=draws
        )
        colors = np.stack([np.arange(images) * 5 % 256, np.arange(images) * 89 % 256, np.full(images, 99)], axis=1)
        thumbnails = np.broadcast_to(colors[:, None, None], (images, side, side, 3)).astype(np.uint8)
        fields = {"paths": [f"{name}/{i}.png" for i in range(images)], "thumbnails": thumbnails, **changes}
        return CenterResult(name, metrics, probabilities, labels, **fields)

    return make


@pytest.fixture
def page_of(tmp_path, read_page):
    def write(made):
        path = tmp_path / "out" / "report.html"
        write_run_report(path, made)
        assert [each.name for each in path.parent.iterdir()] == ["report.html"]
        return read_page(path.read_text(encoding="utf-8"))

    return write
