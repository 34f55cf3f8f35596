"""Published results that the benchmark sets beside its own: accuracy, per cent.

Source: Deutges et al. 2024, arXiv 2404.05584, table 1 (INT-20 of the paper was later made public as MLL23); DoRL and
the ResNeXt trained anew: the works of others on the same centers, with protocols of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Published:
    """One number: accuracy in per cent, and its spread over five folds where it was given."""

    mean: float
    spread: float | None = None

    def __str__(self) -> str:
        return f"{self.mean:.1f}" if self.spread is None else f"{self.mean:.1f} ± {self.spread:.1f}"


MATEK, ACEVEDO, INT = "matek19", "acevedo20", "mll23"

_PAPER = {
    # trained on, tested on: NCA (86 thousand parameters), ResNeXt (25 million), AE-CFE (3.9 million)
    (MATEK, MATEK): ((92.6, 0.6), (96.1, None), (83.7, 0.5)),
    (MATEK, ACEVEDO): ((43.9, 1.6), (8.1, None), (21.9, 0.4)),
    (MATEK, INT): ((24.3, 5.1), (29.5, None), (48.4, 0.2)),
    (ACEVEDO, MATEK): ((32.2, 9.1), (7.3, 3.1), (45.1, 0.5)),
    (ACEVEDO, ACEVEDO): ((90.6, 0.2), (85.7, 2.4), (65.2, 0.5)),
    (ACEVEDO, INT): ((13.6, 2.8), (8.1, 1.4), (21.0, 0.5)),
    (INT, MATEK): ((50.0, 11.1), (49.0, 6.3), (73.2, 0.1)),
    (INT, ACEVEDO): ((46.9, 4.7), (16.9, 1.6), (31.8, 0.4)),
    (INT, INT): ((88.0, 0.3), (88.7, 1.5), (65.6, 0.5)),
}

_OTHERS = {
    "DoRL": {
        (MATEK, ACEVEDO): 63.2,
        (ACEVEDO, MATEK): 62.9,
        (MATEK, MATEK): 95.3,
        (ACEVEDO, ACEVEDO): 88.9,
    },
    "ResNeXt, trained anew": {
        (MATEK, MATEK): 96.4,
        (MATEK, ACEVEDO): 19.6,
        (ACEVEDO, MATEK): 9.3,
        (ACEVEDO, ACEVEDO): 93.3,
    },
}

Pair = tuple[str, str]
"""Centers trained and tested on, by their names in `leukonca.data.centers.CENTERS`."""

PAPER: Mapping[str, Mapping[Pair, Published]] = MappingProxyType(
    {
        model: MappingProxyType({pair: Published(*cells[column]) for pair, cells in _PAPER.items()})
        for column, model in enumerate(("nca", "resnext", "aecfe"))
    }
)
"""The paper's table: model -> (trained on, tested on) -> result. Its protocol: `leukonca.evaluation.protocol.PAPER`."""

OTHERS: Mapping[str, Mapping[Pair, Published]] = MappingProxyType(
    {
        system: MappingProxyType({pair: Published(value) for pair, value in cells.items()})
        for system, cells in _OTHERS.items()
    }
)
"""Works after the paper. DoRL rests on SAM features and uses the target center's images without labels."""
