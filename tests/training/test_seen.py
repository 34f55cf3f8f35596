"""What a model has seen, packed: the same answers as from the whole split, and damage is noticed."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from leukonca.data.splits import split_cells, write_split
from leukonca.errors import DataError
from leukonca.evaluation.holdout import held_out
from leukonca.models.config import ModelConfig
from leukonca.models.presets import preset
from leukonca.training.seen import PACKED, SPLIT, Seen, read_seen, write_seen

from ..evaluation.test_holdout import forty

CONFIG = ModelConfig(architecture=preset("tiny"), data={"center": "acevedo20", "fold": 2, "folds": 5})


@pytest.fixture
def packed(tmp_path: Path) -> tuple[Path, Path, ModelConfig]:
    """A run folder with a split, a folder with the same packed, and the config of both."""
    run, shipped = tmp_path / "run", tmp_path / "shipped"
    cells = forty("acevedo20")
    write_split(run / SPLIT, split_cells(cells, fold=2, seed=5), cells)
    seen = read_seen(run, CONFIG, needed=True)
    assert seen is not None
    digest = write_seen(shipped / PACKED, seen)
    return run, shipped, replace(CONFIG, data={**CONFIG.data, "seen_sha256": digest})


def test_keys_are_what_hashlib_says_of_the_split(packed: tuple[Path, Path, ModelConfig]) -> None:
    run, shipped, config = packed
    facts = json.loads((run / SPLIT).read_text())
    arrays = safetensors.numpy.load_file(shipped / PACKED)

    def keys(*parts: str) -> set[bytes]:
        stems = (path.removesuffix(".jpg") for part in parts for path in facts[part])
        return {hashlib.sha256(stem.encode()).digest()[:6] for stem in stems}

    assert {row.tobytes() for row in arrays["test"]} == keys("test")
    assert {row.tobytes() for row in arrays["names"]} == keys("train", "validation")
    digests = [*facts["digests"]["train"], *facts["digests"]["validation"]]
    assert {row.tobytes().hex() for row in arrays["digests"]} == {digest[:12] for digest in digests}
    assert read_seen(shipped, config, needed=True) == read_seen(run, config, needed=True)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("bytes_of", ["original", "resized"])
def test_packed_or_not_the_same_images_are_left_to_test(
    packed: tuple[Path, Path, ModelConfig], suffix: str, bytes_of: str
) -> None:
    run, shipped, config = packed
    for center in ("acevedo20", "matek19"):
        cells = forty(center, suffix=suffix, bytes_of=bytes_of)
        expected, note = held_out(cells, config, run)
        found, same_note = held_out(cells, config, shipped)
        assert np.array_equal(found, expected)
        assert same_note == note


def test_damage_is_noticed(packed: tuple[Path, Path, ModelConfig]) -> None:
    _, shipped, config = packed
    data = (shipped / PACKED).read_bytes()
    (shipped / PACKED).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(DataError, match="not the split that this model was trained on"):
        read_seen(shipped, config, needed=False)
    for broken in (data[:-6], safetensors.numpy.save({"names": np.zeros((2, 6), np.uint8)}), b""):
        (shipped / PACKED).write_bytes(broken)
        with pytest.raises(DataError, match=r"seen\.safetensors: damaged"):
            read_seen(shipped, CONFIG, needed=False)
    wide = {name: np.zeros((2, 7), np.uint8) for name in Seen.__dataclass_fields__}
    (shipped / PACKED).write_bytes(safetensors.numpy.save(wide))
    with pytest.raises(DataError, match=r"expected uint8 \[N, 6\]"):
        read_seen(shipped, CONFIG, needed=False)


def test_nothing_seen_is_something_known(tmp_path: Path) -> None:
    empty = Seen(frozenset(), frozenset(), frozenset())
    write_seen(tmp_path / PACKED, empty)
    assert read_seen(tmp_path, CONFIG, needed=True) == empty
