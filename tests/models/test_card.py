from dataclasses import replace

from leukonca.data.preprocessing import Preprocessing
from leukonca.models.card import model_card
from leukonca.models.config import ModelConfig
from leukonca.models.presets import Architecture
from leukonca.taxonomy import CLASSES

CONFIG = ModelConfig(architecture=Architecture(channels=48, steps=24), preprocessing=Preprocessing(48, 7, 27.0))


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
    assert "mcc" not in card
    assert "None" not in card


def test_a_model_of_whole_images_says_so() -> None:
    assert "the whole image resized to 64 x 64" in model_card(ModelConfig(architecture=Architecture()), 1)
