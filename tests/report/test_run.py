import base64
import dataclasses
import io
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leukonca.errors import DataError, UsageError
from leukonca.evaluation.metrics import metrics_with_intervals
from leukonca.report import figures
from leukonca.report.run import write_run_report
from leukonca.report.words import verdict

from .made import report

HISTORY = [
    {
        "epoch": e,
        "loss": 2.0 / (e + 1),
        "accuracy": e / 4,
        "validation_loss": 2.5 / (e + 1),
        "validation_accuracy": None,
    }
    for e in range(4)
]


@pytest.fixture(scope="session")
def two_centers(make_result):
    return make_result(), make_result("there", seed=1, images=30, note="Another hospital.")


@pytest.fixture(scope="module")
def page(tmp_path_factory, two_centers, read_page):
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_run_report(path, report(*two_centers, history=HISTORY))
    return read_page(path.read_text(encoding="utf-8"))


def test_nothing_is_loaded_from_anywhere(page):
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "embed", "base", "form"})
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "srcset", "data", "poster", "background", "action"):
                assert re.match(r"data:image/(jpeg|svg\+xml);base64,", value), (tag, value[:80])
            if name == "href":
                assert value.startswith("#"), value
            if name == "style":
                assert "url" not in value
    assert "url(" not in page.style
    assert "@import" not in page.style
    policy = next(meta for meta in page.all("meta") if "http-equiv" in meta)
    assert policy["content"].startswith("default-src 'none'")


def test_pictures_inside_load_nothing_either(page):
    drawings = [image["src"] for image in page.all("img") if "svg" in image["src"]]
    assert len(drawings) == 2 * 2 + 2  # confusion and reliability of each center, scores, learning curve
    for drawing in drawings:
        svg = base64.b64decode(drawing.partition(",")[2]).decode()
        references = re.findall(r'href="([^"]*)"|url\(([^)]*)\)', svg)
        assert all((href or url).startswith(("#", "data:image/png;")) for href, url in references)


def test_it_can_be_used_without_seeing_it(page):
    assert page.all("html")[0]["lang"] == "en"
    assert all(len(image["alt"]) > 20 for image in page.all("img"))
    assert all(header.get("scope") in ("row", "col") for header in page.all("th"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.tags:
        wanted = [attributes.get("href", "")[1:], attributes.get("aria-labelledby"), attributes.get("aria-describedby")]
        assert set(filter(None, wanted)) <= set(ids)
        if "tabindex" in attributes:
            assert attributes["role"] == "region"
            assert attributes["aria-label"]
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def shown(score, percent):
    if score["value"] is None:
        return "–"
    scale, digits, sign = (100, 1, "%") if percent else (1, 3, "")
    low, high = scale * score["low"], scale * score["high"]
    return f"{scale * score['value']:.{digits}f}{sign}|{low:.{digits}f} to {high:.{digits}f}"


def test_numbers_shown_are_the_metrics_given(page, two_centers):
    scores = page.tables[0]
    assert [row[0] for row in scores[1:]] == ["here", "there"]
    for result, row in zip(two_centers, scores[1:], strict=True):
        metrics = result.metrics
        assert row[1] == str(metrics["images"])
        for text, key in zip(
            row[2:9],
            ("accuracy", "balanced_accuracy", "macro_f1", "mcc", "macro_auroc", "brier", "ece"),
            strict=True,
        ):
            assert text == shown(metrics[key], "accuracy" in key), key
        most = np.bincount(result.labels)
        assert row[9] == f"{100 * most.max() / most.sum():.1f}%|{['a b', 'c', 'd'][most.argmax()]}"
        assert row[10] == f"{100 * most[:2].sum() / most.sum():.1f}%"
    for result, (counts, classes) in zip(two_centers, (page.tables[1:3], page.tables[3:5]), strict=True):
        assert [row[1:] for row in counts[1:]] == [
            [str(count) for count in row] for row in result.metrics["confusion"] if sum(row)
        ]
        assert ["never trained on" in row[0] for row in counts[1:]] == [False, False, True]  # "d"; "e" has no cells
        for row, (name, entry) in zip(classes[1:], result.metrics["classes"].items(), strict=True):
            assert row[0].split("|")[0] == name.replace("_", " ")
            assert ("never trained on" in row[0]) == (name in ("d", "e"))
            assert row[1:3] == [str(entry["support"]), str(entry["predicted"])]
            assert row[3:] == [
                shown(entry[key], key in ("recall", "precision")) for key in ("recall", "precision", "f1", "auroc")
            ]


@pytest.mark.parametrize(
    ("majority", "words"), [(0.39, "Better than"), (0.55, "No clear gain over"), (0.61, "Worse than")]
)
def test_headline_sets_accuracy_beside_the_majority_class(majority, words):
    accuracy = {"value": 0.5, "low": 0.4, "high": 0.6}
    metrics = {"accuracy": accuracy, "majority_accuracy": majority, "majority_class": "a_b"}
    always = f"always answering “a b”, which is right for {majority:.1%} of them."
    assert verdict(metrics) == f"{words} {always}"
    assert verdict({**metrics, "accuracy": {**accuracy, "low": None, "high": None}}).startswith(
        "Better" if majority < 0.5 else "Worse"
    )


def test_patients_are_told_where_they_are_known(page_of, make_result):
    several = page_of(report(make_result(images=40, patients=[f"P{i % 7}" for i in range(40)])))
    assert "of 40 cells of 7 patients named correctly (95% interval" in several.text
    assert "images that 7 patients make" in several.text
    alone = page_of(report(make_result(images=40, patients=["P"] * 40)))
    assert "of 40 cells of 1 patient named correctly. What that gains over always answering" in alone.text
    assert "none; all images are of one patient" in alone.text
    assert "patient" not in page_of(report(make_result())).text


def test_facts_settings_and_commands_are_there(page_of, make_result):
    made = report(
        make_result(),
        repeat=("leukonca train --fold 0", "leukonca evaluate runs/tiny"),
        version="9.8.7",
        history=HISTORY,
    )
    page = page_of(made)
    for words in (
        "preset tiny; parameters 86,413",
        "center here; images 1,234",
        "2024-02-29, leukonca 9.8.7",
        "leukonca train --fold 0 leukonca evaluate runs/tiny",
        "At the end: loss 0.500, accuracy 75.0%, validation loss 0.625.",
        "Not a medical device",
    ):
        assert words in page.text, words
    assert page.text.count(made.command) == 2
    settings = [["learning rate", "0.0004"], ["augmentation.flips", "yes"], ["classes", "a, b"], ["resume", "none"]]
    assert page.tables[-1][1:] == settings


def test_what_the_two_losses_of_a_taught_training_count_is_said(page_of, make_result):
    history = [{"epoch": 1, "loss": 0.5, "validation_loss": 0.4}]
    plain, taught = (
        page_of(report(make_result("a"), history=history, recipe={"epochs": 1, **more}))
        for more in ({}, {"teacher_share": 0.6})
    )
    words = "The training loss counts how well the teachers are followed as well"
    assert words in taught.text
    assert words not in plain.text


def test_synthetic_cells_are_said_to_be_synthetic(page, page_of, two_centers):
    note = "Synthetic cells: for trying, says nothing about real cells"
    assert "synthetic" not in page.text.lower()
    made_up = page_of(report(*[two_centers[0]] * 2, synthetic=True))
    assert made_up.text.count(note) >= 2
    assert made_up.texts.count("synthetic cells") == 2


def color_of(picture):
    kind, _, data = picture.partition(",")
    assert kind == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).reshape(-1, 3).mean(axis=0)


def test_cells_shown_are_those_named(page_of, make_result):
    result = make_result(images=50)
    predicted = result.probabilities.argmax(axis=1)
    wrong = [i for i in range(50) if predicted[i] != result.labels[i]]
    surest = sorted(wrong, key=lambda i: -result.probabilities[i].max())[:24]
    cells = [image for image in page_of(report(result)).all("img") if image["alt"].startswith("Cell ")]
    names = ["a b", "c", "d", "e"]
    seen = []
    for cell in cells:
        path, kind, truth, called, chance = re.fullmatch(
            r"Cell (\S+), (wrong|right): truly (.*), predicted (.*) with probability (.*)%", cell["alt"]
        ).groups()
        i = int(path.removeprefix("here/").removesuffix(".png"))
        seen.append((kind, i))
        assert np.abs(color_of(cell["src"]) - result.thumbnails[i, 0, 0]).max() < 3
        assert (truth, called) == (names[result.labels[i]], names[predicted[i]])
        assert float(chance) == pytest.approx(100 * result.probabilities[i].max(), abs=0.051)
    assert [i for kind, i in seen if kind == "wrong"] == surest
    right = [i for kind, i in seen if kind == "right"]
    assert len(surest) > 5
    assert sorted(result.labels[right]) == sorted(set(result.labels[predicted == result.labels]))
    assert (predicted[right] == result.labels[right]).all()


HOSTILE = "<script>alert(1)</script>\"'&$\\frac{ \u767d\u8840\u7403"


def test_hostile_names_are_text_and_nothing_else(page_of, make_result):
    classes = ("a", HOSTILE, "c", HOSTILE + "_2")
    result = make_result(HOSTILE, classes=classes, note=HOSTILE)
    result = dataclasses.replace(result, paths=[f"{i} {HOSTILE}\udcff" for i in range(40)])
    page = page_of(
        report(
            result,
            dataclasses.replace(result, name=HOSTILE + "x" * 40),
            title=HOSTILE,
            command=HOSTILE,
            model={HOSTILE: HOSTILE},
            recipe={HOSTILE: HOSTILE},
            date=HOSTILE,
            version=HOSTILE,
            repeat=(HOSTILE,),
        )
    )
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "frac"})
    # An attribute with a quote must not have broken out into new attributes.
    assert {name for _, attributes in page.tags for name in attributes} <= {
        "lang", "charset", "name", "content", "http-equiv", "class", "href", "id", "src", "alt", "scope",
        "tabindex", "role", "aria-label", "aria-labelledby", "aria-describedby",
    }  # fmt: skip
    assert page.text.count(HOSTILE) > 10
    assert any(HOSTILE in row[0] for row in page.tables[1])
    assert any(HOSTILE in image["alt"] for image in page.all("img"))


def test_a_failed_write_leaves_the_old_report(tmp_path, make_result, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def full(*_, **__):
        raise OSError(28, "No space left on device")  # what Linux says when the disk is full

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(DataError, match="the disk is full"):
        write_run_report(path, report(make_result()))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_out_that_is_a_file_is_a_wrong_call(tmp_path, make_result):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UsageError, match="cannot write there"):
        write_run_report(tmp_path / "taken" / "report.html", report(make_result()))


def test_same_input_same_bytes(tmp_path, make_result):
    for name in ("one.html", "two.html"):
        write_run_report(tmp_path / name, report(make_result()))
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_a_report_of_many_noisy_centers_can_be_mailed(tmp_path, make_result):
    classes = tuple(f"class number {k}" for k in range(13))
    noise = np.random.default_rng(0).integers(0, 256, (200, 128, 128, 3), dtype=np.uint8)
    result = make_result(images=200, classes=classes, thumbnails=noise)
    write_run_report(tmp_path / "report.html", report(*[result] * 3))
    assert (tmp_path / "report.html").stat().st_size < 2_000_000


@pytest.mark.parametrize("images", [1, 3])
def test_the_smallest_result_makes_a_page(page_of, make_result, images):
    result = make_result(images=images, draws=0, thumbnails=None)
    page = page_of(report(result, recipe={}))
    assert len(page.tables) == 3
    assert not [image for image in page.all("img") if image["alt"].startswith("Cell ")]
    assert page.tables[0][1][2] == f"{result.metrics['accuracy']['value']:.1%}"


def test_perfect_and_hopeless_predictions_make_a_page(page_of, make_result):
    result = make_result()
    for labels, words in (
        (result.probabilities.argmax(axis=1), "No cell was named wrongly."),
        (result.probabilities.argmin(axis=1), "No cell was named correctly."),
    ):
        metrics = metrics_with_intervals(result.probabilities, labels, classes=["a", "b", "c", "d"], draws=5)
        page = page_of(report(dataclasses.replace(result, labels=labels, metrics=metrics)))
        assert words in page.text


def test_fields_that_do_not_fit_are_named(make_result):
    result = make_result()
    with pytest.raises(DataError, match=r"here: metrics are of 40 images and 4 classes.*labels \[39\]"):
        dataclasses.replace(result, labels=result.labels[1:])
    with pytest.raises(DataError, match=r"paths \[0\]"):
        dataclasses.replace(result, paths=[])
    with pytest.raises(DataError, match=r"thumbnails are float64 \[40, 8, 8, 3\]; expected uint8 \[40"):
        dataclasses.replace(result, thumbnails=result.thumbnails / 1.0)
    with pytest.raises(DataError, match="no results"):
        report()


def test_a_history_with_gaps_is_drawn():
    gaps = [{"epoch": 0, "loss": 1.0}, {"loss": None, "accuracy": float("nan")}, {"epoch": 2, "loss": 0.5}]
    assert figures.learning_picture(gaps).startswith("data:image/svg+xml")
