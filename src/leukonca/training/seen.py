"""What a model has seen of its training center: the run's ``split.json``, or the same packed for a shipped model.

Of a model that began with another one's weights also what that one had seen, and the one before it.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as parse_safetensors
from safetensors.numpy import save as dump_safetensors

from leukonca.data.splits import PARTS
from leukonca.errors import DataError
from leukonca.files import whole_file
from leukonca.models.config import ModelConfig

SPLIT, PACKED, EARLIER = "split.json", "seen.safetensors", "seen_earlier.safetensors"

_OF_TRAINING = ("model", "weights", "seed", "same_images", "seen_as")
"""Facts in a config about an earlier training that are none about its images. `same_images`: they were the model's own,
split alike. `seen_as`: what it saw is what that training saw, by its place."""

KEY = 6
"""Bytes of a key. One of a million strange images is taken for one of ten thousand that were seen with probability
4e-5, and is then left out of a test."""


@dataclass(frozen=True)
class Seen:
    """What a run learned from or was watched on, and what it was tested on.

    Args:
        names: `name_key` of the images that it learned from or was watched on.
        digests: `digest_key` of these images.
        test: `name_key` of the images of its test part.
    """

    names: frozenset[bytes]
    digests: frozenset[bytes]
    test: frozenset[bytes]


@dataclass(frozen=True)
class Training:
    """One training that a model went through.

    Args:
        data: facts about its images, as ``data`` of a config: center, fingerprint, fold or official split.
        seed: of the run.
        seen: by the model; None: nobody knows.
        model: what came out, as it was named; empty: the model itself.
        weights: SHA-256, hex, of what came out.
    """

    data: Mapping[str, Any]
    seed: int
    seen: Seen | None
    model: str = ""
    weights: str = ""

    @property
    def words(self) -> str:
        """Which images it kept for its test, for a reader."""
        folds = f"fold {self.data['fold']} of {self.data['folds']}, " if "fold" in self.data else ""
        return f"{self.model} ({folds}seed {self.seed})"


def name_key(path: str) -> bytes:
    """Folder and file name without its ending, shortened: the same for resized and converted copies."""
    pure = PurePosixPath(path)
    return hashlib.sha256(f"{pure.parent.name}/{pure.stem}".encode("utf-8", "surrogateescape")).digest()[:KEY]


def digest_key(digest: str) -> bytes:
    """The beginning of a file's SHA-256 that is given in hex, whole or shortened to 12 digits at least."""
    return bytes.fromhex(digest[: 2 * KEY])


def read_seen(folder: Path, config: ModelConfig, *, needed: bool) -> Seen | None:
    """Read ``split.json`` of a run folder, or ``seen.safetensors`` of a shipped model.

    Args:
        folder: of the model.
        config: of the model; it names the checksum of what belongs to it.
        needed: nothing is not good enough.

    Returns:
        None where the folder has neither.

    Raises:
        DataError: missing though it is needed, damaged, or of another run.
    """
    split, packed = Path(folder) / SPLIT, Path(folder) / PACKED
    if split.is_file():
        return _from_split(split, config)
    if packed.is_file():
        return _from_packed(packed, config)
    if needed:
        raise DataError(
            f"{split}: missing, so nobody can say which images the model was trained on; "
            "test on another center, or copy the whole run folder"
        )
    return None


def write_seen(path: Path, seen: Seen) -> str:
    """Write what was seen as keys, 6 bytes an image or name; returns the file's SHA-256, hex."""
    return _write(path, _arrays(seen))


def earlier_trainings(folder: Path, config: ModelConfig) -> tuple[Training, ...]:
    """The trainings that a model had behind it when its own began, the last one first; none: it began at random.

    Args:
        folder: of the model. Without its ``seen_earlier.safetensors`` nobody knows what they had seen, but for those
            that saw what the model itself has seen.
        config: of the model; it tells of them, and names the file's checksum.

    Raises:
        DataError: what they had seen is damaged, or of another model.
    """
    told = config.pretrained
    if not told:
        return ()
    path = Path(folder) / EARLIER
    try:
        raw = path.read_bytes() if path.is_file() else None
        if raw is not None and config.data.get("seen_earlier_sha256") != hashlib.sha256(raw).hexdigest():
            raise DataError(f"{path}: belongs to another model, or is damaged; copy the model folder again")
        arrays = {} if raw is None else parse_safetensors(raw)
        own = read_seen(folder, config, needed=False) if any(each.get("same_images") for each in told) else None
        found: list[Training] = []
        for place, facts in enumerate(told):
            shared = own if facts.get("same_images") else found[facts["seen_as"]].seen if "seen_as" in facts else None
            found.append(_earlier(facts, f"{place}.", arrays, shared))
        return tuple(found)
    except DataError:
        raise
    except (OSError, ValueError, LookupError, TypeError, SafetensorError) as error:
        raise DataError(f"{path}: damaged ({error!r}); copy the model folder again") from error


def write_earlier(path: Path, trainings: Sequence[Training], own: Seen | None = None) -> dict[str, Any]:
    """Write what earlier trainings had seen, unless all of them were on the model's own images.

    Args:
        path: the file to be.
        trainings: the last one first.
        own: what the model itself has seen: a training that saw just this is told as of the same images, and what
            several saw is written once.

    Returns:
        What belongs into the ``data`` of the model's config.
    """
    seen = [each.seen for each in trainings]
    told, kept = [], []
    for place, each in enumerate(trainings):
        facts = {"model": each.model, "weights": each.weights, "seed": each.seed, **each.data}
        if each.seen is not None and each.seen == own:
            facts["same_images"] = True
        elif each.seen is not None and each.seen in seen[:place]:
            facts["seen_as"] = seen.index(each.seen)
        else:
            kept.append(place)
        told.append(facts)
    if not kept:
        path.unlink(missing_ok=True)  # of an earlier run in the same folder
        return {"pretrained": told}
    others = [each if place in kept else replace(each, seen=None) for place, each in enumerate(trainings)]
    return {"pretrained": told, "seen_earlier_sha256": _write(path, _numbered(others))}


def history_digest(trainings: Sequence[Training]) -> str:
    """SHA-256, hex, of what trainings have seen, wherever their models lie."""
    return hashlib.sha256(dump_safetensors(_numbered(trainings))).hexdigest()


def _numbered(trainings: Sequence[Training]) -> dict[str, Any]:
    """The keys of all trainings by number and name; of those that nobody knows none."""
    arrays: dict[str, Any] = {}
    for place, training in enumerate(trainings):
        if training.seen is not None:
            arrays |= {f"{place}.{name}": rows for name, rows in _arrays(training.seen).items()}
    return arrays


def _earlier(facts: Mapping[str, Any], prefix: str, arrays: Mapping[str, Any], shared: Seen | None) -> Training:
    data = {name: value for name, value in facts.items() if name not in _OF_TRAINING}
    held = {name.removeprefix(prefix): rows for name, rows in arrays.items() if name.startswith(prefix)}
    seen = _seen(held) if held else shared
    return Training(data, int(facts["seed"]), seen, str(facts["model"]), str(facts["weights"]))


def _write(path: Path, arrays: Mapping[str, Any]) -> str:
    data = dump_safetensors(dict(arrays))
    with whole_file(path) as temporary:
        temporary.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def _arrays(seen: Seen) -> dict[str, Any]:
    return {name: _rows(getattr(seen, name)) for name in Seen.__dataclass_fields__}


def _seen(arrays: Mapping[str, Any]) -> Seen:
    return Seen(**{name: _keys(arrays[name]) for name in Seen.__dataclass_fields__})


def _from_split(path: Path, config: ModelConfig) -> Seen:
    try:
        raw = path.read_bytes()
        _check(path, raw, config.data.get("split_sha256"), "run")
        facts = json.loads(raw)
        train, validation, test = (frozenset(map(name_key, facts[part])) for part in PARTS)
        digests = (digest for part in ("train", "validation") for digest in facts["digests"][part])
        return Seen(train | validation, frozenset(map(digest_key, digests)), test)
    except DataError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: damaged ({error!r}); copy the run folder again") from error


def _from_packed(path: Path, config: ModelConfig) -> Seen:
    try:
        raw = path.read_bytes()
        _check(path, raw, config.data.get("seen_sha256"), "model")
        return _seen(parse_safetensors(raw))
    except DataError:
        raise
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise DataError(f"{path}: damaged ({error!r}); install leukonca again") from error


def _check(path: Path, raw: bytes, digest: str | None, what: str) -> None:
    if digest not in (None, hashlib.sha256(raw).hexdigest()):
        raise DataError(f"{path}: not the split that this model was trained on; copy the {what} folder again")


def _rows(keys: Iterable[bytes]) -> Any:
    return np.array([list(key) for key in sorted(keys)], np.uint8).reshape(-1, KEY)  # [N, 6]


def _keys(rows: Any) -> frozenset[bytes]:
    if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != KEY:
        raise ValueError(f"{rows.dtype} {list(rows.shape)}: expected uint8 [N, {KEY}]")
    return frozenset(row.tobytes() for row in rows)
