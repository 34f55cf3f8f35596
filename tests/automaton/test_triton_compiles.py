"""The triton engine's kernels, taken to machine code for Hopper: the interpreter lets pass what the compiler refuses.

No graphics card is needed: Triton brings its own compiler and assembler.
"""

from pathlib import Path
from typing import Any

import pytest
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from leukonca.automaton import _triton_backward, _triton_forward, _triton_plan

HOPPER = GPUTarget("cuda", 90, 32)
SIZES = {"CHANNELS": 16, "HIDDEN": 16, "BLOCK_HIDDEN": 16, "BLOCK_CELLS": 16, "BLOCK_CHANNELS": 16}
WHOLE = ("where", "cells", "counts", "starts", "seeds", "offsets", "order")
EXACT = ("kernel_bias", "b0", "gradient", "sum_w0", "sum_b0", "sum_w1", "sum_kernels")
MATRICES = ("kernels", "w0", "w1", "w0t", "w1t", "hidden", "by_hidden", "by_seen")
KERNELS: dict[str, tuple[Any, dict[str, Any]]] = {
    "count": (_triton_plan.count, {"BLOCK": 128}),
    "lay_out": (_triton_plan.lay_out, {"BLOCK": 128, "LOG": True}),
    "advance": (_triton_forward.advance, {**SIZES, "LOG": True, "RESIDENT": False, "PRECISION": "tf32x3"}),
    "advance, on the chip": (_triton_forward.advance, {**SIZES, "LOG": False, "RESIDENT": True, "PRECISION": "bf16"}),
    "through_hidden": (_triton_backward.through_hidden, {**SIZES, "PRECISION": "bf16"}),
    "to_weights": (_triton_backward.to_weights, {**SIZES, "PRECISION": "bf16"}),
    "to_states": (_triton_backward.to_states, {"CHANNELS": 16, "BLOCK_CELLS": 8, "BLOCK_CHANNELS": 16}),
}


@pytest.mark.parametrize("name", KERNELS)
def test_kernel_compiles_for_hopper(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel, constants = KERNELS[name]
    matrix = "*bf16" if constants.get("PRECISION") == "bf16" else "*fp32"
    types = {
        **dict.fromkeys(WHOLE, "*i32"), **dict.fromkeys(EXACT, "*fp32"), **dict.fromkeys(MATRICES, matrix),
        "table": "*fp32", "last": "i64", **dict.fromkeys(constants, "constexpr"),
    }  # fmt: skip
    names = kernel.arg_names
    source = ASTSource(
        kernel,
        {name: types.get(name, "i32") for name in names},
        {(names.index(name),): value for name, value in constants.items()},
    )
    compiled = triton.compile(source, target=HOPPER, options={"num_warps": 4, "enable_fp_fusion": True})
    assert compiled.asm["cubin"]
    assert "sm_90" in compiled.asm["ptx"]
    assert ("mma" in compiled.asm["ptx"]) == ("PRECISION" in constants)
