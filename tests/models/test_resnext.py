"""ResNeXt: torchvision's names and shapes by rule, its forward pass in NumPy, foreign weights, training."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import leukonca
from leukonca.data.cells import Cells
from leukonca.data.splits import Split, split_cells
from leukonca.data.synthetic import synthetic_cells
from leukonca.errors import ModelError, UsageError
from leukonca.models.presets import ResNeXtArchitecture, preset
from leukonca.models.resnext import ResNeXt, import_resnext
from leukonca.training import loop
from leukonca.training.recipe import Recipe

NARROW = ResNeXtArchitecture(grid=24, blocks=(1, 2, 1, 1), width=8, groups=4, group_width=16)


def torchvisions(classes: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes in the state dict of its `resnext50_32x4d`, as its documents and table 1 of the paper give."""

    def norm(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        for part in ("weight", "bias", "running_mean", "running_var"):
            yield f"{name}.{part}", (width,)
        yield f"{name}.num_batches_tracked", ()

    yield "conv1.weight", (64, 3, 7, 7)
    yield from norm("bn1", 64)
    come = 64
    for layer, (blocks, inner, out) in enumerate([(3, 128, 256), (4, 256, 512), (6, 512, 1024), (3, 1024, 2048)], 1):
        for block in range(blocks):
            here = f"layer{layer}.{block}"
            yield f"{here}.conv1.weight", (inner, come, 1, 1)
            yield from norm(f"{here}.bn1", inner)
            yield f"{here}.conv2.weight", (inner, inner // 32, 3, 3)
            yield from norm(f"{here}.bn2", inner)
            yield f"{here}.conv3.weight", (out, inner, 1, 1)
            yield from norm(f"{here}.bn3", out)
            if block == 0:
                yield f"{here}.downsample.0.weight", (out, come, 1, 1)
                yield from norm(f"{here}.downsample.1", out)
            come = out
    yield "fc.weight", (classes, 2048)
    yield "fc.bias", (classes,)


def test_names_shapes_and_number_of_parameters() -> None:
    with torch.device("meta"):
        thousand, thirteen = ResNeXt(classes=tuple(map(str, range(1000)))), ResNeXt()
    shapes = [(name, tuple(value.shape)) for name, value in thousand.state_dict().items()]
    assert shapes == list(torchvisions(1000))
    assert sum(value.numel() for value in thousand.parameters()) == 25_028_904
    assert sum(value.numel() for value in thirteen.parameters()) == 23_006_541
    assert thirteen.config.architecture == preset("resnext")
    assert thirteen.config.preprocessing.grid == 64


def lively(architecture: ResNeXtArchitecture = NARROW, classes: tuple[str, ...] = leukonca.CLASSES) -> ResNeXt:
    """A model all of whose numbers matter, running statistics included."""
    torch.manual_seed(2)
    model = ResNeXt(architecture, classes=classes).eval()
    for name, value in model.state_dict().items():
        if name.endswith(("running_var", "bn1.weight", "bn2.weight", "bn3.weight", "1.weight")):
            value.uniform_(0.5, 1.5)
        elif name.endswith(("running_mean", "bias")):
            value.normal_(std=0.2)
    return model


def convolve(state: np.ndarray, weight: np.ndarray, stride: int, padding: int, groups: int = 1) -> np.ndarray:
    """[C, H, W] by [O, C / groups, k, k], one output value after the other."""
    out, per_group, side, _ = weight.shape
    padded = np.pad(state, ((0, 0), (padding, padding), (padding, padding)))
    rows, columns = ((size - side) // stride + 1 for size in padded.shape[1:])
    result = np.empty((out, rows, columns))
    for o in range(out):
        first = o // (out // groups) * per_group
        for r in range(rows):
            for c in range(columns):
                seen = padded[first : first + per_group, r * stride : r * stride + side, c * stride : c * stride + side]
                result[o, r, c] = (seen * weight[o]).sum()
    return result


def by_hand(w: dict[str, np.ndarray], image: np.ndarray, blocks: tuple[int, ...], groups: int) -> np.ndarray:
    def norm(state: np.ndarray, name: str) -> np.ndarray:
        mean, var, gain, shift = (
            w[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (state - mean) / np.sqrt(var + 1e-5) * gain + shift

    state = np.maximum(norm(convolve(image, w["conv1.weight"], 2, 3), "bn1"), 0)
    padded = np.pad(state, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    rows, columns = ((size - 3) // 2 + 1 for size in padded.shape[1:])
    state = np.array(
        [
            [[plane[2 * r : 2 * r + 3, 2 * c : 2 * c + 3].max() for c in range(columns)] for r in range(rows)]
            for plane in padded
        ]
    )
    for layer, count in enumerate(blocks, 1):
        for block in range(count):
            here, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            inner = np.maximum(norm(convolve(state, w[f"{here}.conv1.weight"], 1, 0), f"{here}.bn1"), 0)
            inner = convolve(inner, w[f"{here}.conv2.weight"], stride, 1, groups)
            inner = np.maximum(norm(inner, f"{here}.bn2"), 0)
            inner = norm(convolve(inner, w[f"{here}.conv3.weight"], 1, 0), f"{here}.bn3")
            if block == 0:
                state = norm(convolve(state, w[f"{here}.downsample.0.weight"], stride, 0), f"{here}.downsample.1")
            state = np.maximum(state + inner, 0)
    logits: np.ndarray = w["fc.weight"] @ state.mean(axis=(1, 2)) + w["fc.bias"]
    return logits


def test_the_forward_pass_is_that_of_the_paper_step_by_step() -> None:
    model = lively()
    x = torch.randn(2, 3, 24, 20)
    weights = {name: array.astype(np.float64) for name, array in model.weights().items()}
    with torch.no_grad():
        logits = model(x, seed=3).numpy()
        np.testing.assert_allclose(model(x[:1]).numpy(), logits[:1], rtol=1e-4, atol=1e-5)
    expected = [by_hand(weights, image, NARROW.blocks, NARROW.groups) for image in x.double().numpy()]
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    assert np.ptp(logits, axis=0).max() > 0.1


@pytest.mark.parametrize("how", ["torch", "safetensors"])
def test_weights_of_others_are_taken_over(tmp_path: Path, how: str) -> None:
    theirs = lively(classes=("a", "b", "c"))
    state = {name: value for name, value in theirs.state_dict().items() if "num_batches" not in name or how == "torch"}
    path = tmp_path / ("weights.pth" if how == "torch" else "weights.safetensors")
    torch.save(state, path) if how == "torch" else save_file(state, path)
    same = import_resnext(path, architecture=NARROW, classes=("x", "y", "z"))
    x = torch.randn(2, 3, 24, 24)
    with torch.no_grad():
        assert torch.equal(same(x), theirs(x))
    other = import_resnext(path, architecture=NARROW)
    assert other.fc.weight.shape == (13, 256)
    assert all(
        torch.equal(value, state[name])
        for name, value in other.state_dict().items()
        if name in state and "fc" not in name
    )


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    torch.save({**lively().state_dict(), "conv1.weight": torch.zeros(8, 3, 3, 3)}, tmp_path / "shape.pth")
    with pytest.raises(ModelError, match=r"shape\.pth: not of this ResNeXt: weights: conv1\.weight has shape"):
        import_resnext(tmp_path / "shape.pth", architecture=NARROW)
    torch.save({"conv1.weight": torch.zeros(8, 3, 7, 7)}, tmp_path / "part.pth")
    with pytest.raises(ModelError, match="missing"):
        import_resnext(tmp_path / "part.pth", architecture=NARROW)
    with pytest.raises(ModelError, match="no such file"):
        import_resnext(tmp_path / "nothing.pth")

    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "exploded",)

    (tmp_path / "bomb.pth").write_bytes(pickle.dumps({"conv1.weight": Bomb()}))
    with pytest.raises(ModelError, match="nothing was loaded"):
        import_resnext(tmp_path / "bomb.pth")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"blocks": (1, 2, 3)}, "blocks is"),
        ({"blocks": (1, 2, 3, 0)}, "blocks is"),
        ({"blocks": (1, 2, 3, 1.5)}, "blocks is"),
        ({"groups": 0}, "groups is 0"),
        ({"width": 8, "group_width": 4}, "no channel in a group"),
        ({"grid": True}, "grid is True"),
    ],
)
def test_networks_that_cannot_be_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ResNeXtArchitecture(**fields)


@pytest.fixture(scope="module")
def cells() -> Cells:
    return synthetic_cells("synthetic_cream", 5, 0, RECIPE.preprocessing, quiet=True)[0]


@pytest.fixture(scope="module")
def split(cells: Cells) -> Split:
    return split_cells(cells, fold=0)


RECIPE = Recipe(architecture=NARROW, epochs=2, batch_size=8, draws=33, average=0.5)
"""The last batch of an epoch is a single image."""


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums of convolutions' gradients are shared out anew in each run with several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_an_interrupted_training_ends_with_the_same_bits(
    cells: Cells, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = loop.train(cells, split, RECIPE, tmp_path / "whole", quiet=True)
    assert isinstance(whole, ResNeXt)
    plain = loop._epoch

    def stopped(run: Any, epoch: int, shown: Any) -> Any:
        if epoch == 1:
            raise KeyboardInterrupt
        return plain(run, epoch, shown)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_epoch", stopped)
        with pytest.raises(KeyboardInterrupt):
            loop.train(cells, split, RECIPE, tmp_path / "parts", quiet=True)
    parts = loop.train(cells, split, RECIPE, tmp_path / "parts", resume=True, quiet=True)
    first = {name: array.tobytes() for name, array in whole.weights().items()}
    assert first == {name: array.tobytes() for name, array in parts.weights().items()}
    assert int(whole.bn1.num_batches_tracked) == 8  # four batches of eight an epoch, none of the single images
    loaded = leukonca.load(tmp_path / "parts")
    assert {name: array.tobytes() for name, array in loaded.weights().items()} == first
    assert not loaded.training
    assert loaded.config.architecture == NARROW
