from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from leukonca.data.preprocessing import Preprocessing
from leukonca.errors import ModelError
from leukonca.evaluation.metrics import metrics_with_intervals
from leukonca.models.card import model_card
from leukonca.models.card_tests import CardTest, read_tests
from leukonca.models.config import ModelConfig
from leukonca.models.presets import Architecture
from leukonca.taxonomy import CLASSES

CONFIG = ModelConfig(architecture=Architecture(channels=48, steps=24), preprocessing=Preprocessing(48, 7, 27.0))


def scored(confusion: list[list[int]], classes: tuple[str, ...], **more: Any) -> dict[str, Any]:
    """Metrics of certain answers with this confusion matrix."""
    counts = np.array(confusion)
    truth = np.repeat(np.arange(len(counts)), counts.sum(axis=1))
    answers = np.concatenate([np.repeat(np.arange(len(counts)), row) for row in counts])
    metrics = metrics_with_intervals(np.eye(len(classes))[answers], truth, classes=classes, draws=20)
    return {**metrics, **more}


def test_the_card_warns_and_names_what_the_model_never_saw() -> None:
    card = model_card(replace(CONFIG, trained_classes=CLASSES[:11], data={"center": "acevedo20"}), 12345)
    assert "Not a medical device" in card
    assert "12,345" in card
    assert "channels 48" in card
    assert "the middle 27 um resized to 48 x 48" in card
    unseen = next(line for line in card.splitlines() if "Never seen in training" in line)
    assert all((name in unseen) == (name in CLASSES[11:]) for name in CLASSES)
    assert "acevedo20" in card
    assert "Not tested yet" in card


def test_scores_stand_with_their_intervals_and_gaps_are_left_out() -> None:
    metrics = {
        "center": "acevedo20",
        "images": 200,
        "accuracy": {"value": 0.91234, "low": 0.9, "high": 0.92},
        "mcc": {"value": None, "low": None, "high": None},
        "macro_auroc": {"value": 0.5, "low": None, "high": None},
    }
    card = model_card(replace(CONFIG, metrics=metrics), 1)
    assert "| accuracy | 0.9123 | 0.9000 to 0.9200 |" in card
    assert "| macro_auroc | 0.5000 | – |" in card
    assert "mcc" not in card
    assert "None" not in card


def test_a_model_of_whole_images_says_so() -> None:
    assert "the whole image resized to 64 x 64" in model_card(ModelConfig(architecture=Architecture()), 1)


def test_the_card_says_what_the_temperature_of_varied_runs_changes() -> None:
    scores = {"before": {"nll": 0.3, "ece": 0.0371}, "after": {"nll": 0.2, "ece": 0.0152}}
    varied = {"runs": 8, **scores, "accepted": 0.8, "accuracy_of_accepted": 0.9614}
    config = replace(CONFIG, temperature=0.8, varied_temperature=0.6, calibration={"varied": varied})
    line = next(line for line in model_card(config, 1).splitlines() if "varied" in line)
    assert line == (
        "- Those of varied runs by 0.6 (of 8 together the calibration error on these images is 0.015, where the "
        "temperature of one run leaves 0.037; not flagged `uncertain` are 0.800, of which 0.961 are right)."
    )
    assert "varied" not in model_card(replace(config, varied_temperature=None, calibration={}), 1)


def test_a_shipped_models_card_says_whose_images_and_how_to_repeat_it() -> None:
    config = replace(
        CONFIG,
        trained_classes=CLASSES[:11],
        data={"center": "acevedo20", "seen_sha256": "secret"},
        temperature=1.25,
        thresholds={"unusual": 12.345, "uncertain": 0.7},
        calibration={"images": 1455},
        recipe={"balance": True},
    )
    card = model_card(config, 1, name="acevedo20-compact")
    assert card.startswith("# Model card: acevedo20-compact\n")
    assert "leukonca predict acevedo20-compact my-cells/ --out cells.csv" in card
    assert "leukonca train --recipe acevedo20-compact --data acevedo20=DIR" in card
    assert "`--prior blood`" in card
    assert "--prior" not in model_card(replace(config, recipe={}), 1, name="acevedo20-compact")
    assert "CC BY 4.0" in card
    assert "10.17632/snkd93bnjr.1" in card
    assert "divided by 1.25 (images 1455)" in card
    assert "unusual 12.35, uncertain 0.7" in card
    assert "secret" not in card


def test_tests_are_told_by_center_and_class_and_failures_are_named() -> None:
    classes = ("basophil", "monocyte", "myeloblast")
    home = scored([[9, 1, 0], [2, 4, 2], [0, 0, 0]], classes, note="test fold 0 of 5")
    away = scored([[0, 5, 0], [0, 1, 0], [0, 0, 0]], classes, note="all images", scored_as={})
    config = replace(CONFIG, classes=classes, trained_classes=classes[:2])
    tests = (CardTest("home", home, "leukonca evaluate X", "Somebody, CC0"), CardTest("away", away))
    lines = model_card(config, 1, name="x", tests=tests).splitlines()
    (total,) = (line for line in lines if line.startswith("| home |"))
    assert total.startswith("| home | 18 | 72.2% [49.1, 87.5] | 70.0% [")  # Wilson, 13 of 18
    assert total.endswith("| 55.6% |")
    (monocyte,) = (line for line in lines if line.startswith("| monocyte | 8 |"))
    assert monocyte.startswith("| monocyte | 8 | 50.0% [21.5, 78.5] | 80.0% [37.6, 96.4] | 0.615 [")
    assert not any(line.startswith("| myeloblast") for line in lines)
    assert "Images: Somebody, CC0. Test fold 0 of 5." in lines
    assert "    leukonca evaluate X" in lines
    failures = lines[lines.index("## Known failures") :]
    assert "- home, monocyte: 50.0% found; taken for basophil (2 of 8), myeloblast (2 of 8)." in failures
    assert "- away, basophil: 0.0% found; taken for monocyte (5 of 5)." in failures
    assert any(
        line.startswith("- away: 16.7% right, where always answering basophil is right for 83.3%") for line in failures
    )
    assert not any(line.startswith("- home, basophil") for line in failures)
    assert any(line.startswith("- Never seen: myeloblast.") for line in failures)


def test_other_ways_of_asking_stand_below_the_scores_of_one_run() -> None:
    classes = ("basophil", "monocyte")
    home = scored([[9, 1], [2, 4]], classes, note="test fold 0 of 5")
    better = {each: {"value": 0.9, "low": 0.8, "high": 0.95} for each in ("accuracy", "balanced_accuracy", "macro_f1")}
    better["ece"] = {"value": 0.0123, "low": None, "high": None}
    config = replace(CONFIG, classes=classes, trained_classes=classes)
    told = CardTest("home", {**home, "otherwise": {"--runs 8": better}}, "leukonca evaluate X --map five.toml")
    lines = model_card(config, 1, name="x", tests=(told,)).splitlines()
    row = "| home | `--runs 8` | 90.0% [80.0, 95.0] | 90.0% [80.0, 95.0] | 0.900 [0.800, 0.950] | 0.012 |"
    assert lines.index(row) > next(i for i, line in enumerate(lines) if line.startswith("| home | 16 |"))
    assert "Test fold 0 of 5. The map is in the project's sources." in lines
    plain = model_card(config, 1, name="x", tests=(CardTest("home", home),))
    assert "The same images, with the options" not in plain
    assert "The map" not in plain


def test_damaged_tests_are_named(tmp_path: Any) -> None:
    for text in (None, "{", "[]", '{"centers": [1]}', '{"centers": {"a": 1}}'):
        if text is not None:
            (tmp_path / "metrics.json").write_text(text)
        with pytest.raises(ModelError, match=r"metrics\.json: missing or damaged"):
            read_tests(tmp_path)


def test_the_card_says_what_is_done_to_stain_and_scale() -> None:
    card = model_card(replace(CONFIG, preprocessing=Preprocessing(48, 7, 22.0, "stretched", 9.9)), 1)
    assert "as much as makes its nucleus 9.9 um" in card
    assert "optical densities of red and green" in card
    assert "optical densities" not in model_card(CONFIG, 1)
    card = model_card(replace(CONFIG, preprocessing=Preprocessing(48, 7, 22.0, "lightness")), 1)
    assert "lightness of red and green, stretched from each image's background to its nucleus" in card
