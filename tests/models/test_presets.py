from typing import Any

import pytest

from leukonca.errors import UsageError
from leukonca.models.presets import PRESETS, Architecture, preset


def test_the_paper_preset_is_the_papers() -> None:
    assert preset("paper") == Architecture(128, 128, 64, 0.5, 64, "max")
    assert list(PRESETS) == ["paper", "compact", "tiny", "resnext", "resnext-small"]


def test_unknown_presets_are_refused_with_the_names_there_are() -> None:
    with pytest.raises(UsageError, match="'huge': there are paper, compact, tiny, resnext"):
        preset("huge")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("channels", 3),
        ("channels", 16.0),
        ("channels", True),
        ("hidden", 0),
        ("steps", 0),
        ("steps", -4),
        ("grid", 1),
        ("fire_rate", 0.0),
        ("fire_rate", 1.01),
        ("fire_rate", float("nan")),
        ("pooling", "median"),
    ],
)
def test_values_that_describe_no_automaton_are_named(setting: str, value: Any) -> None:
    with pytest.raises(UsageError, match=setting):
        Architecture(**{setting: value})
