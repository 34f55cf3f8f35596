"""Markdown, LaTeX and CSV of a table that was written by hand, read back by readers of those formats."""

import csv
import io
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leukonca.benchmark import tables
from leukonca.benchmark.centers import Place
from leukonca.benchmark.gather import Row, Score, Table
from leukonca.benchmark.page import write_report
from leukonca.benchmark.plan import Plan, Variant
from leukonca.benchmark.published import PAPER


def score(mean: float, spread: float | None = 0.016) -> Score:
    return Score(mean, spread, mean - 0.02, mean + 0.03, (mean - 0.01, mean + 0.01))


def row(variant: str, source: str, target: str, mean: float | None, value: float | None = None) -> Row:
    pair = ("acevedo20", "acevedo20") if source == target else ("acevedo20", "folder")
    done = mean is not None
    return Row(
        variant=variant,
        source=source,
        target=target,
        protocol="strict",
        scores={n: score(mean + 0.1 * i) for i, n in enumerate(tables.SCORES)} if mean is not None else {},
        majority=0.214 if done else None,
        ceiling=0.82 if done else None,
        images=2909 if done else 0,
        done=(0, 1) if done else (),
        planned=3,
        errors={2: "not done yet"} if done else {0: r"50% & {x}_y \ $ ~ ^ # <b> | c", 1: "x"},
        published=PAPER.get(variant, {}).get(pair),
        value=value,
    )


def table(*, ablated: str = "") -> Table:
    places = (Place("acevedo20", "acevedo20", "/a"), Place("my_lab", "folder", "/b"))
    names = ["nca-4", "nca-8"] if ablated else ["nca", "resnext"]
    plan = Plan(
        title="A <title> & 50%",
        places=places,
        sources=("acevedo20",),
        variants=tuple(
            Variant(name, "nca", {"epochs": 3}, 4.0 * i if ablated else None) for i, name in enumerate(names)
        ),
        protocols=("strict",),
        folds=3,
        only_folds=(0, 1, 2),
        seed=0,
        ablated=ablated,
    )
    rows = [
        row(
            name,
            "acevedo20",
            target,
            None if (name, target) == (names[1], "my_lab") else 0.439,
            4.0 * i if ablated else None,
        )
        for i, name in enumerate(names)
        for target in ("acevedo20", "my_lab")
    ]
    return Table(plan, "leukonca benchmark <x>", tuple(rows), ("0.1.0",), {("acevedo20", "my_lab", "strict"): "all"})


def markdown_tables(text: str) -> list[list[list[str]]]:
    found: list[list[list[str]]] = []
    for block in re.findall(r"(?:^\|.*\|$\n?)+", text, flags=re.MULTILINE):
        lines = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]] for line in block.splitlines()]
        assert set(lines[1]) == {"---"}
        assert {len(line) for line in lines} == {len(lines[0])}
        found.append([lines[0], *lines[2:]])
    return found


def test_markdown_has_the_papers_layout_with_its_numbers_beside_ours() -> None:
    overview, details, elsewhere = markdown_tables(tables.markdown(table()))
    assert overview == [
        ["trained on", "tested on", "nca", "nca, published", "resnext", "resnext, published", "majority", "ceiling"],
        [
            "acevedo20",
            "acevedo20",
            "43.9 ± 1.6 (2 of 3 folds)",
            "90.6 ± 0.2",
            "43.9 ± 1.6 (2 of 3 folds)",
            "85.7 ± 2.4",
            "21.4",
            "82.0",
        ],
        ["acevedo20", "my_lab", "43.9 ± 1.6 (2 of 3 folds)", "–", "failed", "–", "21.4", "82.0"],
    ]
    assert details[1] == [
        "nca",
        "acevedo20",
        "acevedo20",
        "2 of 3",
        "2,909",
        "43.9 ± 1.6 [41.9, 46.9]",
        "53.9 ± 1.6 [51.9, 56.9]",
        "63.9 ± 1.6 [61.9, 66.9]",
        "21.4",
        "82.0",
    ]
    assert [line[2:] for line in elsewhere[1:]] == [["DoRL", "88.9"], ["ResNeXt, trained anew", "93.3"]]


def test_latex_shows_every_letter_and_every_row_is_as_wide_as_the_table() -> None:
    text = tables.latex(table())
    for columns, body in re.findall(r"\\begin{tabular}{([lr]+)}\n(.*?)\\end{tabular}", text, flags=re.DOTALL):
        lines = [line for line in body.splitlines() if line.endswith(r" \\")]
        assert len(lines) >= 3
        assert all(len(re.split(r"(?<!\\)&", line)) == len(columns) for line in lines)
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2
    assert r"my\_lab" in text
    assert r"A \textless{}title\textgreater{} \& 50\%" in text
    assert r"43.9 $\pm$ 1.6" in text
    assert text.isascii()
    outside_math = re.sub(r"\$[^$]*\$", "", text)
    assert not re.search(r"(?<!\\)[#$^~]|(?<!\\)_", outside_math.replace("% needs", ""))


def test_escape_leaves_nothing_that_latex_would_act_on() -> None:
    special = "\\&%$#_{}~^"
    assert tables.escape(special) == (r"\textbackslash{}\&\%\$\#\_\{\}\textasciitilde{}\textasciicircum{}")
    assert tables.escape("a\nb\x00c") == "abc"


def test_csv_is_plain_numbers() -> None:
    lines = list(csv.DictReader(io.StringIO(tables.comma_separated(table()))))
    assert [line["model"] for line in lines] == ["nca", "nca", "resnext", "resnext"]
    assert (lines[0]["accuracy"], lines[0]["accuracy_low"], lines[0]["published_accuracy"]) == (
        "0.439000",
        "0.419000",
        "0.906000",
    )
    assert (lines[3]["accuracy"], lines[3]["folds"]) == ("", "0")
    assert r"50% & {x}_y \ $ ~ ^ # <b> | c" in lines[3]["errors"]
    folds = list(csv.DictReader(io.StringIO(tables.fold_by_fold(table()))))
    assert [line["fold"] for line in folds if line["model"] == "nca" and line["target"] == "my_lab"] == ["0", "1", "2"]
    assert float(folds[0]["accuracy"]) == pytest.approx(0.429)
    assert folds[2]["error"] == "not done yet"


def test_an_ablation_is_sorted_by_value() -> None:
    overview = markdown_tables(tables.markdown(table(ablated="fire_rate")))[0]
    assert overview[0][:4] == ["trained on", "tested on", "fire rate", "accuracy"]
    assert [line[1:3] for line in overview[1:]] == [
        ["acevedo20", "0"],
        ["acevedo20", "4"],
        ["my_lab", "0"],
        ["my_lab", "4"],
    ]


class Page(HTMLParser):
    """Text and pictures of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words = ""
        self.pictures: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_data(self, data: str) -> None:
        self.words += data

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "iframe", "b")
        if tag == "img":
            self.pictures.append(dict(attributes))


@pytest.mark.parametrize("ablated", ["", "channels"])
def test_the_page_and_its_pictures(tmp_path: Path, ablated: str) -> None:
    write_report(tmp_path, table(ablated=ablated))
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    for words in ("A <title> & 50%", "leukonca benchmark <x>", "43.9 ± 1.6", "[41.9, 46.9]", "<b> | c", "my_lab"):
        assert words in page.words
    assert ("90.6 ± 0.2" in page.words) == (not ablated)
    (picture,) = page.pictures
    assert str(picture["src"]).startswith("data:image/svg+xml;base64,")
    name = "curves-strict" if ablated else "accuracy-strict"
    assert ET.parse(tmp_path / f"{name}.svg").getroot().tag.endswith("svg")
    with Image.open(tmp_path / f"{name}.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape[1] > 600
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10


def test_a_table_of_nothing_is_still_a_page(tmp_path: Path) -> None:
    full = table()
    empty = Table(
        full.plan, full.command, tuple(row("nca", "acevedo20", each, None) for each in ("acevedo20", "my_lab"))
    )
    write_report(tmp_path, empty)
    assert "failed" in (tmp_path / "table.md").read_text(encoding="utf-8")
    assert not list(tmp_path.glob("*.svg"))
