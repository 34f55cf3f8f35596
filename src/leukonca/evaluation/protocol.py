"""Cross-center protocols by name: which images of a center a model is tested on, and with whose colors."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from leukonca.errors import UsageError

if TYPE_CHECKING:
    from leukonca.evaluation.run import Normalisation


@dataclass(frozen=True)
class Protocol:
    """One way of testing a model on a center.

    Args:
        name: on the command line and in results.
        normalisation: whose color statistics the tested images are normalised with.
        same_fold: on another center, test on the fold with the number of the model's own test fold; else on all of
            its images.
        target_unlabelled: methods that adapt may see the images of the centers they are tested on, without labels.
        words: what that means, for a reader.
    """

    name: str
    normalisation: "Normalisation"
    same_fold: bool
    target_unlabelled: bool
    words: str


STRICT = Protocol(
    name="strict",
    normalisation="training",
    same_fold=False,
    target_unlabelled=False,
    words="Nothing of the tested center is used: its images are normalised with the training center's colors, and no "
    "method sees them before the test. At home the test fold is tested, elsewhere the whole center.",
)

PAPER = Protocol(
    name="paper",
    normalisation="target",
    same_fold=True,
    target_unlabelled=True,
    words="As in Deutges et al. 2024: the tested images are normalised with their own colors, which uses the unseen "
    "center; AE-CFE also learns from all centers' images without labels. Tested is the fold with the number of the "
    "model's own test fold, or all of a center that is too small to be divided.",
)

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType({each.name: each for each in (STRICT, PAPER)})
"""The first one is the default."""


def find_protocol(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in PROTOCOLS:
        raise UsageError(f"protocol {name!r}: there are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
