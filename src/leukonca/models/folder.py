"""A model as a folder: ``model.safetensors``, ``config.json``, ``MODEL_CARD.md``; nothing is ever unpickled.

Where it can tell unusual cells apart, what it needs for that is in ``unusual.safetensors``.
"""

import hashlib
import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as parse_safetensors
from safetensors.numpy import save as dump_safetensors

from leukonca.errors import ModelError
from leukonca.files import whole_file, write_json, write_text
from leukonca.models.card import model_card
from leukonca.models.config import ModelConfig, read_config, read_digest, to_json
from leukonca.models.unusual import UnusualScore

SHIPPED = Path(__file__).parents[1] / "shipped"
"""Folders of models that come with the package."""

UNUSUAL_FILE = "unusual.safetensors"

Weights = dict[str, NDArray[np.float32]]
Arrays = dict[str, NDArray[Any]]


def shipped_models() -> tuple[str, ...]:
    """Names of the models that come with the package, sorted."""
    return tuple(sorted(path.name for path in SHIPPED.iterdir() if path.is_dir())) if SHIPPED.is_dir() else ()


def find_model(folder_or_name: str | Path) -> Path:
    """The folder of a model that is given by its path or by the name of a shipped model.

    A name alone is the shipped model's, wherever the caller stands; ``./NAME``, or a `Path`, is a folder.

    Raises:
        ModelError: there is neither, or the name is also that of a model folder in the working directory.
    """
    folder = Path(folder_or_name)
    with suppress(RuntimeError):  # of a user who is not there
        folder = folder.expanduser()
    names = shipped_models()
    if folder_or_name in names:
        if any((folder / file).exists() for file in ("config.json", "checkpoint.safetensors")):
            raise ModelError(
                f"{folder_or_name}: both a shipped model and a model folder here; write ./{folder_or_name} for the "
                "folder; for the shipped one rename the folder, or work in another directory"
            )
        return SHIPPED / str(folder_or_name)
    if folder.is_dir():
        return folder
    told = ", ".join(names) or "none yet; train one with `leukonca train`"
    raise ModelError(f"{folder_or_name}: no such model folder, and no shipped model of that name (shipped: {told})")


def weights_digest(weights: Weights) -> str:
    """SHA-256, hex, of the weights as a model folder holds them."""
    return hashlib.sha256(_dump(weights)).hexdigest()


def _dump(arrays: Arrays) -> bytes:
    return dump_safetensors({name: np.asarray(array, order="C") for name, array in arrays.items()})


def write_model(
    folder: Path, config: ModelConfig, weights: Weights, parameters: int, unusual: UnusualScore | None = None
) -> None:
    """Write a model folder; the config goes last and names the files' checksums, so halves are noticed.

    Args:
        folder: made if needed; other files in it stay.
        config: its version is set here.
        weights: float32 arrays by name, those that are not trained included.
        parameters: how many numbers were trained.
        unusual: tells unusual cells apart; None: an ``unusual.safetensors`` that is there no longer counts.

    Raises:
        ModelError: values that JSON or the reader would refuse; nothing is written.
        DataError, UsageError: see `leukonca.files.whole_file`.
    """
    from leukonca import __version__

    folder = Path(folder)
    data = _dump(weights)
    config = replace(config, version=__version__)
    facts = {**to_json(config), "weights_sha256": hashlib.sha256(data).hexdigest()}
    further = None if unusual is None else _dump(unusual.arrays())
    if further is not None:
        facts["unusual_sha256"] = hashlib.sha256(further).hexdigest()
    card = model_card(config, parameters)
    _check_arrays(folder, weights)
    try:
        json.dumps(facts, allow_nan=False)
    except (ValueError, TypeError) as error:
        raise ModelError(f"{folder}: config holds what JSON cannot ({error}); the model was not written") from error
    with whole_file(folder / "model.safetensors") as path:
        path.write_bytes(data)
    if further is not None:
        with whole_file(folder / UNUSUAL_FILE) as path:
            path.write_bytes(further)
    write_text(folder / "MODEL_CARD.md", card)
    write_json(folder / "config.json", facts)


def read_model(folder_or_name: str | Path) -> tuple[ModelConfig, Weights]:
    """Read a model folder without torch.

    Raises:
        ModelError: a file is missing or damaged, or weights and config do not belong together.
    """
    folder = find_model(folder_or_name)
    config, digest = read_config(folder)
    weights = _read_arrays(folder / "model.safetensors", digest, "weights")
    return config, weights


def read_unusual(folder_or_name: str | Path) -> UnusualScore | None:
    """What tells unusual cells apart, without torch; None where the model has nothing of the kind.

    Raises:
        ModelError: the folder has it according to its config, and the file is missing, damaged or another one's.
    """
    folder = find_model(folder_or_name)
    digest = read_digest(folder, "unusual_sha256")
    if digest is None:
        return None
    path = folder / UNUSUAL_FILE
    arrays = _read_arrays(path, digest, "arrays", (np.float32, np.int8))
    try:
        score = UnusualScore.from_arrays(arrays)
        score.check_channels(read_config(folder)[0].architecture)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    return score


def _read_arrays(
    path: Path, digest: str, what: str, types: tuple[type[np.generic], ...] = (np.float32,)
) -> dict[str, NDArray[Any]]:
    """The arrays of a safetensors file with this SHA-256, of these number types."""
    try:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            raise ModelError(f"{path}: not the {what} that config.json belongs to; copy the model folder again")
        arrays = parse_safetensors(data)
    except FileNotFoundError as error:
        raise ModelError(f"{path}: missing; copy the model folder again") from error
    except KeyError as error:  # a number type that numpy does not have
        raise ModelError(f"{path}: holds numbers of type {error}; needs {_named(types)}") from error
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: damaged ({error}); copy the model folder again") from error
    _check_arrays(path, arrays, types)
    return arrays


def _check_arrays(place: Path, arrays: Arrays, types: tuple[type[np.generic], ...] = (np.float32,)) -> None:
    for name, array in arrays.items():
        if array.dtype not in types:
            raise ModelError(f"{place}: {name} is {array.dtype}; needs {_named(types)}")
        if not np.isfinite(array).all():
            raise ModelError(f"{place}: {name} holds values that are not finite; this is no usable model")


def _named(types: tuple[type[np.generic], ...]) -> str:
    return " or ".join(each.__name__ for each in types)
