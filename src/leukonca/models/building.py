"""Models of any kind: new ones, from weights, or from a folder. torch comes with the first that is built."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from leukonca.errors import ModelError, UsageError
from leukonca.models.architecture import AnyArchitecture
from leukonca.models.config import ModelConfig
from leukonca.models.folder import Weights, find_model, read_model, read_unusual
from leukonca.models.registry import place_of
from leukonca.taxonomy import CLASSES

if TYPE_CHECKING:
    from leukonca.models.classifier import Classifier


def build(architecture: AnyArchitecture, *, classes: tuple[str, ...] = CLASSES, engine: str = "auto") -> "Classifier":
    """A new model with random weights (torch's global generator draws them).

    Args:
        architecture: of any kind.
        classes: names of the outputs.
        engine: see `NCAClassifier`; other kinds have none but ``auto``.

    Raises:
        UsageError: there is no such engine.
    """
    return _classifier(architecture).from_architecture(architecture, classes=classes, engine=engine)


def from_weights(config: ModelConfig, weights: Weights, *, engine: str = "auto") -> "Classifier":
    """A model from its config and float32 arrays by parameter name, in evaluation mode.

    Raises:
        ModelError: names, shapes or values that do not belong to the config.
        UsageError: there is no such engine.
    """
    return _classifier(config.architecture).from_weights(config, weights, engine=engine)


def load(folder_or_name: str | Path, *, engine: str = "auto", device: str = "cpu") -> "Classifier":
    """A trained model of the kind that the folder holds, a `torch.nn.Module` in evaluation mode.

    Args:
        folder_or_name: a model folder, or the name of a shipped model.
        engine: see `NCAClassifier`.
        device: where torch puts it.

    Raises:
        ModelError: missing or damaged.
        UsageError: no such device, or no such engine.
    """
    unusual = read_unusual(folder_or_name)
    model = load_without_score(folder_or_name, engine=engine, device=device)
    model.unusual = unusual
    return model


def load_without_score(folder_or_name: str | Path, *, engine: str = "auto", device: str = "cpu") -> "Classifier":
    """The same, but for `unusual`, which is None: for a training that begins as it, or where that is fitted anew.

    What the folder holds for it may be missing, damaged or of an earlier version. Arguments and errors as `load`.
    """
    config, weights = read_model(folder_or_name)
    try:
        model = from_weights(config, weights, engine=engine)
    except ModelError as error:
        raise ModelError(f"{find_model(folder_or_name)}: {error}") from error
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {device!r} cannot be used here ({str(error).splitlines()[0]}); use 'cpu'") from error


def _classifier(architecture: AnyArchitecture) -> "type[Classifier]":
    module, _, name = place_of(architecture).partition(":")
    return cast("type[Classifier]", getattr(import_module(module), name))
