import dataclasses

import pytest

from leukonca.report.summary import summary_table


def test_values_intervals_and_baseline_stand_in_their_columns(make_result):
    result = make_result(images=1234)
    heading, values, ranges, *_ = summary_table([result]).splitlines()
    assert heading.split() == ["center", "cells", "accuracy", "balanced", "macro-F1", "AUROC", "majority"]
    m = result.metrics
    assert values.split() == [
        "here",
        "1234",
        f"{100 * m['accuracy']['value']:.1f}%",
        f"{100 * m['balanced_accuracy']['value']:.1f}%",
        f"{m['macro_f1']['value']:.3f}",
        f"{m['macro_auroc']['value']:.3f}",
        f"{100 * m['majority_accuracy']:.1f}%",
    ]
    assert ranges.split() == [
        f"{100 * m[key]['low']:.1f}-{100 * m[key]['high']:.1f}" for key in ("accuracy", "balanced_accuracy")
    ] + [f"{m[key]['low']:.3f}-{m[key]['high']:.3f}" for key in ("macro_f1", "macro_auroc")]
    for i, word in enumerate(("accuracy", "balanced", "macro-F1", "AUROC", "majority")):
        end = heading.index(word) + len(word)
        assert values[:end].split()[-1] == values.split()[i + 2]


@pytest.mark.parametrize("name", ["x", "a" * 200, "bad\nname\x1b[31m", "\u767d\u8840\u7403"])
def test_it_fits_eighty_columns_whatever_the_name(make_result, name):
    text = summary_table([dataclasses.replace(make_result(images=1), name=name)] * 2, synthetic=True)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert all(line.isprintable() for line in lines)
    assert len(lines) == len(summary_table([make_result(images=1)] * 2, synthetic=True).splitlines())


def test_pure_ascii_can_be_piped_anywhere(make_result):
    one_class = make_result(images=1)  # AUROC has no value
    assert one_class.metrics["macro_auroc"]["value"] is None
    assert summary_table([one_class, make_result()]).isascii()


def test_limits_and_notes_appear_when_they_hold(make_result):
    result = make_result()
    reach = result.metrics["ceiling_accuracy"]
    text = summary_table([result], synthetic=True)
    assert f"here: at most {100 * reach:.1f}% can be right" in text
    assert "Synthetic cells: for trying, says nothing about real cells." in text
    whole = dataclasses.replace(result, metrics={**result.metrics, "ceiling_accuracy": 1.0})
    unknown = dataclasses.replace(result, metrics={**result.metrics, "ceiling_accuracy": None})
    assert "at most" not in summary_table([whole, unknown])
    assert "Synthetic" not in summary_table([whole])
    assert "interval" not in summary_table([make_result(draws=0)])


def test_whose_cells_intervals_are_of_is_said(make_result):
    some = make_result(images=40, patients=[f"P{i % 7}" for i in range(40)])
    alone = make_result(images=40, patients=["P"] * 40)
    assert "here: cells of 7 patients; intervals are of patients, not of cells" in summary_table([some])
    text = summary_table([alone])
    assert "here: cells of 1 patient, who says nothing of others: no intervals" in text
    assert "beneath each score" not in text
    assert "patient" not in summary_table([make_result()])
