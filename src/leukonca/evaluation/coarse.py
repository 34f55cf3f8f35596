"""The level that predictions are scored on, where a center's labels and a model's classes are not equally fine."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukonca.data.cells import Cells
from leukonca.errors import DataError
from leukonca.models.config import ModelConfig
from leukonca.taxonomy import COARSE_CLASSES, OTHER


@dataclass(frozen=True, eq=False)
class Level:
    """Which class each output of a model and each label of a center counts as.

    Args:
        classes: the S classes that are scored.
        outputs: int64 [K], the scored class of each of the model's outputs.
        labels: int64 [L], the scored class of each of the center's.
        names: scored class -> ``{"outputs": [...], "labels": [...]}``, the names that count as it.
        trained_classes: scored classes that had training images; None: unknown.
    """

    classes: tuple[str, ...]
    outputs: NDArray[np.int64]
    labels: NDArray[np.int64]
    names: Mapping[str, Mapping[str, list[str]]]
    trained_classes: tuple[str, ...] | None

    @property
    def plain(self) -> bool:
        """Whether the model's classes are scored as they are."""
        return np.array_equal(self.outputs, np.arange(len(self.classes)))

    def probabilities(self, outputs: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Probabilities of the scored classes: those of the outputs that count as each are added up.

        Args:
            outputs: the model's probabilities, [N, K].

        Returns:
            [N, S]; float64 where anything was added up, else as given.
        """
        if self.plain:
            return outputs
        counts_as = np.zeros((len(self.outputs), len(self.classes)))
        counts_as[np.arange(len(self.outputs)), self.outputs] = 1.0
        added: NDArray[np.float64] = outputs.astype(np.float64) @ counts_as  # [N, K] @ [K, S]
        return added


def scoring_level(cells: Cells, config: ModelConfig) -> Level:
    """The level on which a model can be tested on a center: of a label and an output, the coarser one counts.

    Where labels are coarser ("neutrophil"), probabilities of all outputs that a label comprises are added up. Where
    outputs are coarser, labels that an output comprises count as it. Outputs that have no part in any label count
    together as `OTHER`, which is no cell's class: always wrong. A label that has no output is never found.

    Raises:
        DataError: no class in common, or a label and an output that overlap without one comprising the other.
    """
    label = {name: frozenset(finer) for name, finer in cells.comprises.items()}
    stated = {**COARSE_CLASSES, **config.data.get("comprises", {})}
    output = {name: frozenset(stated.get(name, (name,))) for name in config.classes}
    overlapping = [(a, b) for a in label for b in output if label[a] & output[b]]
    if not overlapping:
        raise DataError(
            f"{cells.center}: none of its classes ({', '.join(label)}) is one of the model's ({', '.join(output)}); "
            "test a model that was trained on such classes, or map folders to them with --map"
        )
    as_label, as_output = {a: a for a in label}, dict.fromkeys(output, OTHER)
    for a, b in overlapping:
        if label[a] >= output[b]:
            as_output[b] = a
        elif label[a] < output[b] and (b == a or b not in label):
            as_label[a] = as_output[b] = b
        else:
            raise DataError(
                f"{cells.center}: its class {a} ({', '.join(sorted(label[a]))}) and the model's {b} "
                f"({', '.join(sorted(output[b]))}) do not fit into each other; map folders to other classes with --map"
            )
    classes = tuple(dict.fromkeys([*as_label.values(), *as_output.values()]))
    trained = {as_output[name] for name in config.trained_classes}
    return Level(
        classes=classes,
        outputs=np.array([classes.index(scored) for scored in as_output.values()], dtype=np.int64),
        labels=np.array([classes.index(scored) for scored in as_label.values()], dtype=np.int64),
        names={
            name: {
                "outputs": [output for output, scored in as_output.items() if scored == name],
                "labels": [label for label, scored in as_label.items() if scored == name],
            }
            for name in classes
        },
        trained_classes=tuple(name for name in classes if name in trained) if config.trained_classes else None,
    )
