"""A trained model that another one begins as: fine-tuning on the cells of one's own center."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leukonca.errors import UsageError
from leukonca.files import fingerprint
from leukonca.models.building import load_without_score
from leukonca.models.classifier import Classifier
from leukonca.models.config import ModelConfig
from leukonca.models.folder import find_model, weights_digest
from leukonca.models.registry import kind_of
from leukonca.taxonomy import COARSE_CLASSES, Comprises
from leukonca.training.recipe import Recipe
from leukonca.training.recipe_files import from_json
from leukonca.training.seen import Training, earlier_trainings, history_digest, read_seen

EPOCHS, DRAWS, WARMUP = 10, 1000, 20
"""Ten thousand views: a minute or two of two cores."""

RATE = 0.1
"""Of the learning rates of the training from nothing; chosen by measurement (docs/finetuning.md)."""

TOLD = ("center", "fingerprint", "files", "split", "fold", "folds", "synthetic")
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
            teacher_share=None,
        )

    @property
    def fingerprint(self) -> str:
        """Hex digits that change with its weights, its colors, its classes and what it has seen."""
        config, weights = self.model.config, weights_digest(self.model.weights())
        return fingerprint(weights, config.classes, config.mean, config.std, history_digest(self.trainings))


def read_pretrained(folder_or_name: str | Path) -> Pretrained:
    """Read a trained model, to begin as it.

    Raises:
        ModelError: missing or damaged.
        DataError: what it has seen is damaged.
    """
    folder, model = find_model(folder_or_name), load_without_score(folder_or_name)
    config = model.config
    data = {name: config.data[name] for name in TOLD if name in config.data}
    name = folder.resolve().name
    seen, weights = read_seen(folder, config, needed=False), weights_digest(model.weights())
    own = Training(data, int(config.recipe.get("seed", 0)), seen, name, weights)
    return Pretrained(name, model, (own, *earlier_trainings(folder, config)))


def check_fits(recipe: Recipe, pretrained: Pretrained) -> None:
    """Raise a `UsageError` for a recipe that a trained model's weights or colors are of no use for."""
    config = pretrained.model.config
    wanted, given = kind_of(recipe.architecture), kind_of(config.architecture)
    if wanted != given:
        raise UsageError(f"--pretrained {pretrained.name}: of kind {given}, and the recipe is of kind {wanted}")
    other = config.architecture.unlike(recipe.architecture)
    if config.preprocessing.stain != recipe.stain_normalisation:
        other.append(f"stain_normalisation {config.preprocessing.stain} (and not {recipe.stain_normalisation})")
    if other:
        raise UsageError(
            f"--pretrained {pretrained.name}: its weights were trained with {', '.join(other)}; leave out the options "
            "that change this"
        )


@torch.no_grad()
def begin_as(model: Classifier, pretrained: Pretrained, comprises: Comprises, present: Collection[str]) -> None:
    """Give a new model another one's weights, in place.

    An output begins as the mean of those that it comprises, or as the one that comprises it. What the other was never
    trained on stays new, if there are images of it now; if not, it begins as it was.

    Args:
        model: to be trained, of the same architecture.
        pretrained: that it begins as.
        comprises: the new model's classes, and which of the 13 each comprises.
        present: those of them that there are training images of.
    """
    own, theirs = model.state_dict(), dict(pretrained.model.state_dict())
    sources = _sources(comprises, pretrained.model.config, present)
    for part in ("weight", "bias"):
        name = f"{model.output_layer}.{part}"
        theirs[name] = _rows(own[name], theirs[name], sources)
    model.load_state_dict(theirs)


def _sources(comprises: Comprises, config: ModelConfig, present: Collection[str]) -> list[list[int]]:
    """For each class, the outputs of another model that it begins as; none: it stays new."""
    stated: Mapping[str, Any] = {**COARSE_CLASSES, **config.data.get("comprises", {})}
    trained = config.trained_classes or config.classes
    held = {place: set(stated.get(name, (name,))) for place, name in enumerate(config.classes)}
    known = {place: finer for place, finer in held.items() if config.classes[place] in trained}
    found = []
    for name, finer in comprises.items():
        within = [place for place, theirs in known.items() if theirs <= set(finer)]
        around = [place for place, theirs in known.items() if theirs > set(finer)]
        as_it_was = [place for place, theirs in held.items() if theirs == set(finer) and name not in present]
        found.append(within or around or as_it_was)
    return found


def _rows(new: Tensor, old: Tensor, sources: list[list[int]]) -> Tensor:
    """Weights or biases of the outputs, [classes, ...]."""
    return torch.stack([old[places].mean(dim=0) if places else new[k] for k, places in enumerate(sources)])
