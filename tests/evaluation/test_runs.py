from typing import Any

import pytest

from leukonca.errors import UsageError
from leukonca.evaluation.runs import check_runs


@pytest.mark.parametrize(
    "asked",
    [
        {"runs": 1},
        {"runs": 50},
        {"runs": 50, "varied": True},
        {"runs": 1, "at_random": False},
        {"runs": 24, "varied": True, "at_random": False},
        {"runs": 2, "seed": 2**32 - 2},
    ],
)
def test_runs_that_differ(asked: dict[str, Any]) -> None:
    check_runs(**{"varied": False, "seed": 0, **asked})


@pytest.mark.parametrize(
    ("asked", "fact"),
    [
        ({"runs": 0}, "runs 0: must be a whole number"),
        ({"runs": True}, "runs True"),
        ({"runs": 2.0}, r"runs 2\.0"),
        ({"runs": 2, "seed": 2**32 - 1}, "must lie in"),
        ({"runs": 1, "varied": True}, "a single run sees the image as it is"),
        ({"runs": 2, "at_random": False}, "all runs would be the same"),
        ({"runs": 25, "varied": True, "at_random": False}, "there are 24 views"),
    ],
)
def test_runs_that_cannot_be_or_repeat_each_other(asked: dict[str, Any], fact: str) -> None:
    with pytest.raises(UsageError, match=fact):
        check_runs(**{"varied": False, "seed": 0, **asked})
