"""The triton engine without a graphics card: Triton's interpreter runs its kernels, its compiler takes them to PTX.

The interpreter has to be chosen before triton is imported, so this file runs itself in a process of its own, once, and
every test looks at its own part of what that process found.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from leukonca.automaton import engines, reference
from leukonca.errors import UsageError

SMALL = {"cells": 16, "channels": 16}
CASES: dict[str, dict[str, Any]] = {
    "odd grid, a seed an image": {"images": [2, 5, 7], "rule": [5, 7], "steps": 2, "seeds": [3, 4_000_000_000]},
    "2 x 2, every cell fires, recomputed": {
        "images": [1, 2, 2], "rule": [4, 3], "steps": 3, "rate": 1.0, "settings": {"keep_every": 2},
    },
    "several tiles, channel blocks and hidden blocks": {
        "images": [1, 3, 7], "rule": [20, 130], "steps": 2, "rate": 0.9,
        "settings": {"forward": SMALL, "hidden": SMALL, "weights": SMALL, "states": {**SMALL, "cells": 32}},
    },
    "weights on the chip, few cells fire": {
        "images": [1, 4, 3], "rule": [16, 16], "steps": 3, "rate": 0.3, "settings": {"resident": True},
        "gradients": False,
    },
    "cells that hold a patch of pixels": {"images": [1, 3, 4], "rule": [14, 6], "steps": 2, "pixels": 4},
    "bfloat16": {
        "images": [1, 4, 5], "rule": [16, 16], "steps": 1, "settings": {"precision": "bf16", "state": "bfloat16"},
    },
}  # fmt: skip


def drawn_cases(number: int) -> dict[str, dict[str, Any]]:
    """Shapes, seeds, rates and tiles that nobody chose; the same every time."""
    rng = np.random.default_rng(20)
    cases: dict[str, dict[str, Any]] = {}
    for k in range(number):
        pixels = int(rng.choice([1, 4]))
        batch, height, width = (int(rng.integers(low, high)) for low, high in ((1, 4), (2, 8), (2, 8)))
        small = {"cells": int(rng.choice([16, 32])), "channels": 16}
        cases[f"drawn {k}"] = {
            "images": [batch, height, width],
            "rule": [3 * pixels + int(rng.integers(1, 40)), int(rng.integers(1, 70))],
            "steps": int(rng.integers(1, 4)),
            "rate": float(rng.choice([1.0, rng.uniform(0.05, 1)])),
            "seeds": rng.integers(0, 2**32, batch).tolist(),
            "pixels": pixels,
            "settings": {
                "keep_every": int(rng.integers(1, 4)),
                **({"forward": small, "hidden": small, "weights": small} if k % 2 else {}),
            },
        }
    return cases


CASES.update(drawn_cases(6))
FIELDS = ("state", "images", "kernels", "kernel_bias", "hidden_weight", "hidden_bias", "update_weight")


def run(case: dict[str, Any], engine: Callable[..., torch.Tensor], dtype: torch.dtype) -> list[np.ndarray]:
    """States after the last step, and gradients of a random sum of them, as `FIELDS` names them."""
    rng = np.random.default_rng(0)
    (batch, height, width), (channels, hidden) = case["images"], case["rule"]
    shapes = (2, channels, 3, 3), (2, channels), (hidden, 3 * channels), (hidden,), (channels, hidden)
    given = [
        rng.normal(size=(batch, 3 * case.get("pixels", 1), height, width)),
        *(rng.normal(scale=0.2, size=shape) for shape in shapes),
    ]
    tensors = [torch.from_numpy(array.astype(np.float32)).to(dtype).requires_grad_() for array in given]
    if not case.get("gradients", True):
        with torch.no_grad():
            return [engine(*tensors, **arguments(case)).numpy()]
    states = engine(*tensors, **arguments(case))
    (states * torch.from_numpy(rng.normal(size=tuple(states.shape))).to(dtype)).sum().backward()
    return [states.detach().numpy(), *(tensor.grad.numpy() for tensor in tensors)]


def arguments(case: dict[str, Any]) -> dict[str, Any]:
    seeds = np.array(case.get("seeds", [9] * case["images"][0]), np.uint32)
    return {"steps": case["steps"], "fire_rate": case.get("rate", 0.5), "seeds": seeds}


def interpreted(folder: Path) -> None:
    """What runs in the process of its own."""
    from leukonca.automaton import triton_engine

    for number, case in enumerate(CASES.values()):
        changes = {
            name: triton_engine.Tile(**value) if isinstance(value, dict) else value
            for name, value in case.get("settings", {}).items()
        }
        with triton_engine.settings(**changes):
            np.savez(folder / f"{number}.npz", *run(case, triton_engine.rollout, torch.float32))
    first = next(iter(CASES.values()))
    images = torch.randn(2, 5, 7, 3).permute(0, 3, 1, 2)
    rule = [torch.randn(*shape) for shape in ((3, 3, 2, 5), (2, 5), (15, 7), (7,), (7, 5))]
    rule = [rule[0].permute(2, 3, 0, 1), rule[1], rule[2].t(), rule[3], rule[4].t()]
    strided, plain = (
        triton_engine.rollout(*(change(t) for t in (images, *rule)), **arguments(first), record=True)
        for change in (lambda t: t, lambda t: t.contiguous())
    )
    try:
        triton_engine.rollout(*(t.double() for t in (images, *rule)), **arguments(first))
        refusal = ""
    except UsageError as error:
        refusal = str(error)
    found = {
        "strided": torch.equal(strided, plain),
        "steps recorded": len(plain),
        "last recorded": torch.equal(plain[-1], triton_engine.rollout(images, *rule, **arguments(first))),
        "float64": refusal,
    }
    (folder / "found.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("interpreted")
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", __file__, str(folder)], env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", CASES)
def test_triton_engine_equals_the_float64_reference(results: Path, name: str) -> None:
    with np.load(results / f"{list(CASES).index(name)}.npz") as found:
        fast = list(found.values())
    exact = run(CASES[name], reference.rollout, torch.float64)
    assert len(fast) == len(exact)
    for what, ours, theirs in zip(FIELDS, fast, exact, strict=False):
        error = np.abs(ours - theirs).max() / (np.abs(theirs).max() or 1)
        if name == "bfloat16":
            # Eight bits of mantissa: not equal, but no further away than rounding each number once or twice takes it.
            assert 1e-4 < error < 0.1, what
        else:
            assert error < (1e-5 if what == "state" else 1e-4), what


def test_same_bits_whatever_the_strides_and_the_last_recorded_state_is_the_last(results: Path) -> None:
    found = json.loads((results / "found.json").read_text())
    assert found["strided"]
    assert found["steps recorded"] == 2
    assert found["last recorded"]


def test_wrong_types_and_devices_say_what_to_do(results: Path) -> None:
    found = json.loads((results / "found.json").read_text())
    assert "not on torch.float64" in found["float64"]
    assert ".to('cuda', torch.float32)" in found["float64"]
    case = CASES["bfloat16"]
    with pytest.raises(UsageError, match=r"not on torch\.float32 on cpu"):
        run(case, lambda *tensors, **given: engines.run("triton", tensors[0], tensors[1:], **given), torch.float32)


def test_settings_hold_inside_only_and_refuse_what_they_do_not_know() -> None:
    from leukonca.automaton.triton_engine import Settings, settings

    with settings(precision="bf16") as outer, settings(keep_every=8) as inner:
        assert (outer.precision, outer.keep_every) == ("bf16", 1)
        assert (inner.precision, inner.keep_every) == ("bf16", 8)
    with settings() as after:
        assert after == Settings()
    for wrong in ({"precision": "fp8"}, {"state": "float64"}, {"keep_every": 0}, {"speed": 11}):
        with pytest.raises(UsageError), settings(**wrong):
            pass


if __name__ == "__main__":
    interpreted(Path(sys.argv[1]))
