"""The authors' checkpoints: names, transposed kernels, and files that are not what they should be."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

import leukonca
from leukonca.errors import ModelError, UsageError

State = dict[str, Tensor]


def state_dict(n: int = 128, hidden: int = 128, classes: int = 13, seed: int = 0) -> State:
    """Random numbers under the authors' names."""
    draw = torch.Generator().manual_seed(seed)
    shapes = {
        "p0.weight": (n, 1, 3, 3),
        "p0.bias": (n,),
        "p1.weight": (n, 1, 3, 3),
        "p1.bias": (n,),
        "fc0.weight": (hidden, 3 * n),
        "fc0.bias": (hidden,),
        "fc1.weight": (n, hidden),
        "fc2.weight": (hidden, n),
        "fc2.bias": (hidden,),
        "fc3.weight": (classes, hidden),
        "fc3.bias": (classes,),
    }
    return {name: torch.randn(shape, generator=draw) * 0.5 / shape[-1] ** 0.5 for name, shape in shapes.items()}


def their_logits(images: Tensor, state: State, steps: int) -> Tensor:
    """Written from reference.md: channels last, H and W swapped before the convolutions, every cell fires."""
    n = len(state["p0.bias"])
    image = images.permute(0, 2, 3, 1)  # [B, H, W, 3]
    x = torch.cat([image, torch.zeros(*image.shape[:3], n - 3)], dim=3)  # [B, H, W, n]
    for _ in range(steps):
        swapped = functional.pad(x.transpose(1, 3), (1, 1, 1, 1), mode="reflect")  # [B, n, W+2, H+2]
        first, second = (
            functional.conv2d(swapped, state[f"{name}.weight"], state[f"{name}.bias"], groups=n)
            for name in ("p0", "p1")
        )
        perceived = torch.cat([x.transpose(1, 3), first, second], dim=1).transpose(1, 3)  # [B, H, W, 3n]
        hidden = functional.linear(perceived, state["fc0.weight"], state["fc0.bias"]).relu()
        x = x + functional.linear(hidden, state["fc1.weight"])
        x = torch.cat([image, x[..., 3:]], dim=3)
    features = x.amax(dim=(1, 2))  # [B, n]
    middle = functional.linear(features, state["fc2.weight"], state["fc2.bias"]).relu()
    return functional.linear(middle, state["fc3.weight"], state["fc3.bias"])


def every_cell_fires(model: leukonca.NCAClassifier, steps: int) -> leukonca.NCAClassifier:
    architecture = replace(model.config.architecture, fire_rate=1.0, steps=steps)
    model.config = replace(model.config, architecture=architecture)
    return model


@pytest.mark.parametrize("engine", ["cpu", "reference"])
@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_agrees_with_their_code_where_every_cell_fires(tmp_path: Path, engine: str, kind: str) -> None:
    state, path = state_dict(), tmp_path / f"theirs.{kind}"
    (safetensors.torch.save_file if kind == "safetensors" else torch.save)(state, path)
    model = every_cell_fires(leukonca.import_wbc_nca(path, engine=engine), steps=5)
    x = torch.randn(2, 3, 9, 13, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        ours, theirs = model(x), their_logits(x, state, steps=5)
        unswapped = their_logits(
            x, {**state, "p0.weight": state["p0.weight"].mT, "p1.weight": state["p1.weight"].mT}, 5
        )
    scale = float(theirs.abs().max())
    assert float((ours - theirs).abs().max()) < 2e-6 * max(1, scale)
    assert float((ours - unswapped).abs().max()) > 1e-2 * scale  # the test does see the orientation of the kernels


def test_is_the_paper_model(tmp_path: Path) -> None:
    torch.save(state_dict(), tmp_path / "m.pth")
    model = leukonca.import_wbc_nca(tmp_path / "m.pth")
    assert model.config.architecture == leukonca.NCAClassifier(preset="paper").config.architecture
    assert model.config.classes == leukonca.CLASSES
    assert model.config.preprocessing.grid == 64
    assert sum(value.numel() for value in model.parameters()) == 86_413
    assert not model.training
    model.save(tmp_path / "ours")
    again = leukonca.load(tmp_path / "ours").weights()
    assert all((again[name] == value).all() for name, value in model.weights().items())


def test_other_widths_and_numbers_of_classes_follow_from_the_shapes(tmp_path: Path) -> None:
    torch.save(state_dict(n=10, hidden=6, classes=8), tmp_path / "m.pth")
    model = every_cell_fires(leukonca.import_wbc_nca(tmp_path / "m.pth"), steps=3)
    x = torch.randn(1, 3, 5, 4)
    with torch.no_grad():
        torch.testing.assert_close(model(x), their_logits(x, state_dict(10, 6, 8), 3), rtol=1e-5, atol=2e-6)
    assert model.config.classes == tuple(f"class_{i}" for i in range(8))


def test_parameters_and_other_precisions_are_read_too(tmp_path: Path) -> None:
    state = state_dict(n=8, hidden=4)
    torch.save({name: torch.nn.Parameter(value.double()) for name, value in state.items()}, tmp_path / "m.pth")
    assert torch.equal(leukonca.import_wbc_nca(tmp_path / "m.pth").update_weight, state["fc1.weight"])


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path: Path) -> None:
    flag = tmp_path / "exploded"
    torch.save({**state_dict(8, 4), "fc3.bias": Bomb(flag)}, tmp_path / "zip.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps({"p0.weight": Bomb(flag)}))
    for name in ("zip.pth", "bare.pth"):
        with pytest.raises(ModelError, match=f"{name}: no checkpoint of tensors alone .* nothing was loaded"):
            leukonca.import_wbc_nca(tmp_path / name)
    assert not flag.exists()
    torch.load(tmp_path / "zip.pth", weights_only=False)
    assert flag.exists()  # the bomb does work


def without(name: str) -> Callable[[State], State]:
    return lambda state: {key: value for key, value in state.items() if key != name}


def reshaped(name: str, *shape: int) -> Callable[[State], State]:
    return lambda state: {**state, name: torch.zeros(shape)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("fc0.bias"), r"missing fc0\.bias; unknown none"),
        (lambda state: {**state, "fc1.bias": torch.zeros(8)}, r"missing none; unknown fc1\.bias"),
        (lambda state: {**state, 3: torch.zeros(8)}, r"unknown 3"),
        (lambda state: {}, r"missing fc0\.bias"),
        (reshaped("p0.weight", 8, 3, 3, 3), r"p0\.weight has shape \(8, 3, 3, 3\).*need \(8, 1, 3, 3\)"),
        (reshaped("p1.weight", 8, 1, 5, 5), r"p1\.weight has shape"),
        (reshaped("p0.bias", 1), r"p0\.bias has shape \(1,\)"),
        (reshaped("fc0.weight", 4, 16), r"fc0\.weight has shape \(4, 16\).*need \(4, 24\)"),
        (reshaped("fc1.weight"), r"fc1\.weight has shape \(\); expected a matrix"),
        (reshaped("fc3.weight", 0, 4), r"fc3\.weight has shape \(0, 4\)"),
        (reshaped("fc3.bias", 12), r"fc3\.bias has shape \(12,\).*13 classes"),
        (
            lambda state: {**state, "fc0.bias": torch.full((4,), torch.nan)},
            "hidden_bias holds values that are not finite",
        ),
        (lambda state: {**state, "fc0.bias": torch.zeros(4, dtype=torch.int64)}, "floating-point"),
        (lambda state: {**state, "fc0.bias": 3}, "not a state dict"),
        (lambda state: {"state_dict": state}, "not a state dict"),
        (lambda state: list(state.values()), "not a state dict"),
        (lambda state: state_dict(n=3, hidden=4), "channels is 3"),
    ],
)
def test_another_architecture_is_refused_by_name(tmp_path: Path, change: Callable[[State], Any], words: str) -> None:
    torch.save(change(state_dict(8, 4)), tmp_path / "m.pth")
    with pytest.raises(ModelError, match=words) as caught:
        leukonca.import_wbc_nca(tmp_path / "m.pth")
    assert str(tmp_path / "m.pth") in str(caught.value)


def test_missing_files_folders_and_engines(tmp_path: Path) -> None:
    for name in ("none.pth", "none.safetensors"):
        with pytest.raises(ModelError, match=f"{name}: no such file"):
            leukonca.import_wbc_nca(tmp_path / name)
    with pytest.raises(ModelError, match="nothing was loaded"):
        leukonca.import_wbc_nca(tmp_path)
    torch.save(state_dict(8, 4), tmp_path / "m.pth")
    with pytest.raises(UsageError, match="engine 'abacus'"):
        leukonca.import_wbc_nca(tmp_path / "m.pth", engine="abacus")


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from(["pth", "legacy.pth", "safetensors"]))
def test_damaged_files_are_refused_or_read_but_never_crash(tmp_path: Path, data: st.DataObject, kind: str) -> None:
    path = tmp_path / f"m.{kind}"
    if kind == "safetensors":
        safetensors.torch.save_file(state_dict(4, 1, 1), path)
    else:
        torch.save(state_dict(4, 1, 1), path, _use_new_zipfile_serialization=kind == "pth")
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
            content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    refused = ""
    try:
        model = leukonca.import_wbc_nca(path)
    except ModelError as error:
        refused = str(error)
    assert str(path) in refused or bool(torch.isfinite(model.kernels).all())
