"""A trained model that another one begins as: fine-tuning on the cells of one's own center."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leukonca.errors import UsageError
from leukonca.models.building import load
from leukonca.models.classifier import Classifier
from leukonca.models.config import ModelConfig
from leukonca.models.folder import find_model, weights_digest
from leukonca.taxonomy import COARSE_CLASSES, Comprises
from leukonca.training.recipe import Recipe
from leukonca.training.recipe_files import from_json
from leukonca.training.seen import Training, earlier_trainings, read_seen

EPOCHS, DRAWS, WARMUP = 10, 1000, 20
"""Ten thousand views: a minute or two of two cores."""

RATE = 0.1
"""Of the learning rates of the training from nothing; chosen by measurement (docs/finetuning.md)."""

TOLD = ("center", "fingerprint", "split", "fold", "folds", "synthetic")
"""Facts about the images of an earlier training that a model's config keeps."""


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A trained model, and all that must not be tested any more because of it.

    Args:
        name: what messages and the model card call it.
        model: with its weights and config.
        trainings: that it went through, its own first.
    """

    name: str
    model: Classifier
    trainings: tuple[Training, ...]

    @property
    def recipe(self) -> Recipe:
        """Its own recipe, with fewer and smaller steps.

        Raises:
            UsageError: it was not trained by a recipe.
        """
        settings = {name: value for name, value in self.model.config.recipe.items() if name != "seed"}
        try:
            whole = from_json(settings)
        except UsageError as error:
            raise UsageError(f"--pretrained {self.name}: {error}; begin with a model of `leukonca train`") from error
        return replace(
            whole,
            epochs=EPOCHS,
            draws=DRAWS,
            warmup=WARMUP,
            learning_rate=whole.learning_rate * RATE,
            muon_rate=None if whole.muon_rate is None else whole.muon_rate * RATE,
            small_grid=None,
            small_grid_epochs=0,
        )

    @property
    def digest(self) -> str:
        """SHA-256, hex, of its weights."""
        return weights_digest(self.model.weights())


def read_pretrained(folder_or_name: str | Path) -> Pretrained:
    """Read a trained model, to begin as it.

    Raises:
        ModelError: missing or damaged.
        DataError: what it has seen is damaged.
    """
    folder, model = find_model(folder_or_name), load(folder_or_name)
    config = model.config
    data = {name: config.data[name] for name in TOLD if name in config.data}
    name = folder.resolve().name
    own = Training(data, int(config.recipe.get("seed", 0)), read_seen(folder, config, needed=False), name)
    return Pretrained(name, model, (own, *earlier_trainings(folder, config)))


@torch.no_grad()
def begin_as(model: Classifier, pretrained: Pretrained, comprises: Comprises) -> None:
    """Give a new model another one's weights, in place.

    Where their classes differ, an output begins as the mean of those that it comprises, or as the one that comprises
    it; what the other was never trained on stays new.

    Args:
        model: to be trained.
        pretrained: that it begins as.
        comprises: the new model's classes, and which of the 13 each comprises.

    Raises:
        UsageError: weights of other shapes.
    """
    own, theirs = model.state_dict(), pretrained.model.state_dict()
    last = tuple(f"{model.output_layer}.{part}" for part in ("weight", "bias"))
    for name in own.keys() | theirs.keys():
        shapes = [tuple(state[name].shape) if name in state else () for state in (own, theirs)]
        if name not in last and shapes[0] != shapes[1]:
            raise UsageError(
                f"--pretrained {pretrained.name}: its weights do not fit ({name}: {list(shapes[1])}, needed are "
                f"{list(shapes[0])}); leave out options that change the architecture, --preset and --recipe included"
            )
    if model.config.classes == pretrained.model.config.classes:
        model.load_state_dict(theirs)
        return
    sources = _sources(comprises, pretrained.model.config)
    for name in last:
        theirs = {**theirs, name: _rows(own[name], theirs[name], sources)}
    model.load_state_dict(theirs)


def _sources(comprises: Comprises, config: ModelConfig) -> list[list[int]]:
    """For each class, the trained outputs of another model that it can begin as; none: it stays new."""
    stated: Mapping[str, Any] = {**COARSE_CLASSES, **config.data.get("comprises", {})}
    trained = config.trained_classes or config.classes
    held = {place: set(stated.get(name, (name,))) for place, name in enumerate(config.classes) if name in trained}
    within = [[place for place, finer in held.items() if finer <= set(wanted)] for wanted in comprises.values()]
    around = [[place for place, finer in held.items() if finer > set(wanted)] for wanted in comprises.values()]
    return [parts or wholes for parts, wholes in zip(within, around, strict=True)]


def _rows(new: Tensor, old: Tensor, sources: list[list[int]]) -> Tensor:
    """Weights or biases of the outputs, [classes, ...]."""
    return torch.stack([old[places].mean(dim=0) if places else new[k] for k, places in enumerate(sources)])
