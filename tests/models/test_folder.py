"""A model folder: what is written, and what is refused when it is read."""

import errno
import hashlib
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch

import leukonca
from leukonca.errors import DataError, ModelError, UsageError
from leukonca.models import folder as rooms
from leukonca.models.folder import find_model, read_model

FILES = {"model.safetensors", "config.json", "MODEL_CARD.md"}


def lively(seed: int = 1, **settings: Any) -> leukonca.NCAClassifier:
    torch.manual_seed(seed)
    model = leukonca.NCAClassifier(preset="tiny", **settings)
    torch.nn.init.normal_(model.update_weight, std=0.15)
    return model


def rewrite(folder: Path, weights: dict[str, np.ndarray] | bytes, **config: Any) -> None:
    """Weights and a config that names their checksum, by other means than the code under test."""
    data = weights if isinstance(weights, bytes) else safetensors.numpy.save(weights)
    (folder / "model.safetensors").write_bytes(data)
    facts = json.loads((folder / "config.json").read_text())
    facts.update(config, weights_sha256=hashlib.sha256(data).hexdigest())
    (folder / "config.json").write_text(json.dumps(facts))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    lively().save(tmp_path / "model")
    return tmp_path / "model"


def test_saved_and_loaded_with_the_same_bits(tmp_path: Path) -> None:
    model = lively(num_classes=7, fire_rate=0.3, steps=5)
    model.config = replace(model.config, mean=(0.1, 0.2, 1 / 3), std=(0.4, 0.5, 0.6), temperature=1.25, image_um=36.0)
    model.save(tmp_path / "a" / "b")
    assert {path.name for path in (tmp_path / "a" / "b").iterdir()} == FILES
    loaded = leukonca.load(str(tmp_path / "a" / "b"))
    assert not loaded.training
    assert loaded.config == replace(model.config, version=leukonca.__version__)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in loaded.state_dict().items())
    x = torch.rand(2, 3, 10, 12)
    with torch.no_grad():
        assert torch.equal(loaded(x, seed=6), model(x, seed=6))
    on_disk = safetensors.numpy.load_file(tmp_path / "a" / "b" / "model.safetensors")
    assert on_disk.keys() == model.state_dict().keys()
    assert all(on_disk[name].dtype == np.float32 for name in on_disk)
    assert all(on_disk[name].tobytes() == value.numpy().tobytes() for name, value in model.state_dict().items())


def test_config_says_what_the_contract_promises(saved: Path) -> None:
    facts = json.loads((saved / "config.json").read_text())
    assert facts["format"] == 1
    assert facts["classes"] == list(leukonca.CLASSES)
    assert facts["architecture"] == {
        "channels": 16,
        "hidden": 32,
        "steps": 12,
        "fire_rate": 0.5,
        "grid": 24,
        "pooling": "max",
        "patch": 1,
    }
    assert facts["preprocessing"] == {
        "grid": 24,
        "margin": 0,
        "field_um": None,
        "stain": "plain",
        "nucleus_um": None,
        "beyond": "reflection",
    }
    assert facts["weights_sha256"] == hashlib.sha256((saved / "model.safetensors").read_bytes()).hexdigest()
    assert facts["version"] == leukonca.__version__
    assert {"mean", "std", "image_um", "temperature", "recipe", "data", "metrics", "trained_classes"} <= facts.keys()


def test_loading_leaves_the_callers_random_numbers_alone(saved: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    leukonca.load(saved)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loaded_model_can_be_trained_and_saved_again(saved: Path) -> None:
    model = leukonca.load(saved)
    before = model.weights()
    model(torch.rand(1, 3, 8, 8)).sum().backward()
    with torch.no_grad():
        model.head[2].bias -= 0.1 * model.head[2].bias.grad
    model.save(saved)
    assert not np.array_equal(leukonca.load(saved).weights()["head.2.bias"], before["head.2.bias"])


def test_nothing_is_unpickled(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "exploded",)

    rewrite(saved, pickle.dumps({"kernels": Bomb()}))
    with pytest.raises(ModelError, match=r"model\.safetensors: damaged"):
        leukonca.load(saved)
    assert not (tmp_path / "exploded").exists()

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("something was unpickled")

    lively().save(saved)
    for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load"), (np, "load")):
        monkeypatch.setattr(module, name, refuse)
    leukonca.load(saved)


def cut(saved: Path) -> None:
    data = (saved / "model.safetensors").read_bytes()
    (saved / "model.safetensors").write_bytes(data[: len(data) // 2])


def cut_with_checksum(saved: Path) -> None:
    rewrite(saved, (saved / "model.safetensors").read_bytes()[:-40])


def flip_one_bit(saved: Path) -> None:
    data = bytearray((saved / "model.safetensors").read_bytes())
    data[-5] ^= 1
    (saved / "model.safetensors").write_bytes(bytes(data))


def other_weights(saved: Path) -> None:
    lively(seed=2).save(saved.parent / "other")
    (saved / "model.safetensors").write_bytes((saved.parent / "other" / "model.safetensors").read_bytes())


def change(name: str, value: Any) -> Callable[[Path], None]:
    def damage(saved: Path) -> None:
        weights = {key: array.copy() for key, array in read_model(saved)[1].items()}
        if value is None:
            del weights[name]
        elif callable(value):
            weights[name] = value(weights[name])
        else:
            weights[name] = np.full_like(weights[name], value)
        rewrite(saved, weights)

    return damage


def add_a_tensor(saved: Path) -> None:
    rewrite(saved, {**read_model(saved)[1], "extra": np.zeros(2, np.float32)})


def half_precision_of_another_kind(saved: Path) -> None:
    header = json.dumps({"kernels": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    rewrite(saved, len(header).to_bytes(8, "little") + header + b"\0\0\0\0")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda saved: (saved / "model.safetensors").unlink(), r"model\.safetensors: missing"),
        (lambda saved: (saved / "model.safetensors").write_bytes(b""), r"model\.safetensors: not the weights"),
        (lambda saved: rewrite(saved, b""), r"model\.safetensors: damaged"),
        (cut, r"model\.safetensors: not the weights that config\.json"),
        (cut_with_checksum, r"model\.safetensors: damaged"),
        (flip_one_bit, r"model\.safetensors: not the weights"),
        (other_weights, r"model\.safetensors: not the weights"),
        (change("head.2.bias", float("nan")), r"model\.safetensors: head\.2\.bias holds values that are not finite"),
        (change("kernels", float("inf")), r"model\.safetensors: kernels holds values that are not finite"),
        (change("kernels", lambda a: a.astype(np.float16)), r"model\.safetensors: kernels is float16"),
        (half_precision_of_another_kind, r"model\.safetensors: holds numbers of type 'BF16'"),
        (change("hidden_bias", None), r"model: weights: missing \['hidden_bias'\]"),
        (add_a_tensor, r"model: weights: .*unknown \['extra'\]"),
        (
            change("update_weight", lambda a: a.T.copy()),
            r"model: weights: update_weight has shape \(32, 16\), expected",
        ),
        (lambda saved: (saved / "config.json").unlink(), r"model: no config\.json"),
        (lambda saved: (saved / "config.json").write_text('{"format": 1'), r"config\.json: damaged"),
    ],
)
def test_damage_is_noticed_and_the_file_is_named(saved: Path, damage: Callable[[Path], Any], words: str) -> None:
    damage(saved)
    with pytest.raises(ModelError, match=words) as caught:
        leukonca.load(saved)
    assert str(saved) in str(caught.value)


def test_a_model_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (tmp_path / "nothing", "no-such-model", "~nobody-of-that-name/model"):
        with pytest.raises(ModelError, match="no such model folder, and no shipped model"):
            leukonca.load(name)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelError, match="no such model folder"):
        leukonca.load(tmp_path / "file")
    with pytest.raises(ModelError, match=r"no config\.json there"):
        leukonca.load(tmp_path)
    monkeypatch.setattr(rooms, "SHIPPED", tmp_path)
    lively().save(tmp_path / "acevedo")
    assert find_model("acevedo") == tmp_path / "acevedo"
    leukonca.load("acevedo")
    with pytest.raises(ModelError, match="shipped: acevedo"):
        leukonca.load("../acevedo")


def test_an_engine_that_is_not_there(saved: Path) -> None:
    with pytest.raises(UsageError, match="engine 'abacus'"):
        leukonca.load(saved, engine="abacus")


@pytest.mark.parametrize("metrics", [{"accuracy": float("nan")}, {"accuracy": np.float32(0.5)}, {"curve": {1, 2}}])
def test_a_config_that_json_cannot_hold_leaves_the_folder_as_it_was(saved: Path, metrics: dict[str, Any]) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    model = lively(seed=2)
    model.config = replace(model.config, metrics=metrics)
    with pytest.raises(ModelError, match="was not written"):
        model.save(saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_a_model_that_is_not_finite_is_not_saved(saved: Path) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    model = lively(seed=2)
    with torch.no_grad():
        model.head[0].bias[3] = float("nan")
    with pytest.raises(ModelError, match=r"head\.0\.bias holds values that are not finite"):
        model.save(saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


@pytest.mark.parametrize("full_at", ["model.safetensors", "MODEL_CARD.md", "config.json"])
def test_a_full_disk_says_so_and_never_leaves_half_a_file(
    saved: Path, monkeypatch: pytest.MonkeyPatch, full_at: str
) -> None:
    whole = {path.name: path.read_bytes() for path in saved.iterdir()}
    move = Path.replace

    def fill_up(self: Path, target: Path) -> Path:
        if target.name == full_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        return move(self, target)

    monkeypatch.setattr(Path, "replace", fill_up)
    with pytest.raises(DataError, match=f"{full_at}: the disk is full"):
        lively(seed=2).save(saved)
    monkeypatch.undo()
    assert {path.name for path in saved.iterdir()} == FILES
    if full_at == "model.safetensors":
        assert {path.name: path.read_bytes() for path in saved.iterdir()} == whole
    else:  # new weights beside the old config: noticed
        with pytest.raises(ModelError, match="not the weights that"):
            leukonca.load(saved)


def test_a_crash_while_scores_are_added_leaves_a_usable_model(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = leukonca.load(saved)

    def crash(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rooms, "write_json", crash)
    with pytest.raises(KeyboardInterrupt):
        model.save(saved)
    monkeypatch.undo()
    assert leukonca.load(saved).config == model.config


def test_other_files_of_the_folder_stay(saved: Path) -> None:
    (saved / "log.jsonl").write_text("{}")
    lively(seed=3).save(saved)
    assert (saved / "log.jsonl").read_text() == "{}"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="cannot write there"):
        lively().save(tmp_path / "file" / "model")
    assert (tmp_path / "file").read_text() == "x"


def test_a_shipped_name_means_the_same_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped, here = tmp_path / "shipped", tmp_path / "here"
    monkeypatch.setattr(rooms, "SHIPPED", shipped)
    lively().save(shipped / "acevedo")
    (here / "acevedo").mkdir(parents=True)
    monkeypatch.chdir(here)
    assert find_model("acevedo") == shipped / "acevedo"  # a folder of results is no model
    lively().save(here / "acevedo")
    with pytest.raises(ModelError, match=r"both a shipped model and a model folder here; write \./acevedo for"):
        find_model("acevedo")
    assert find_model("./acevedo").resolve() == here / "acevedo"
    assert find_model(Path("acevedo")).resolve() == here / "acevedo"
