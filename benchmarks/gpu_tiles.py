"""Ways to cut up the triton engine's work, for `gpu.py` to try."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from leukonca.automaton.triton_engine import Settings, Tile

FAST: dict[str, Any] = {"precision": "bf16", "state": "bfloat16"}


def candidates(*, small: bool) -> Iterator[tuple[str, Settings]]:
    """Tiles to try: (which kernel, settings)."""
    fast, exact = Settings(**FAST), Settings()
    if small:
        yield "forward", replace(fast, forward=Tile(16, 16))
        return
    for cells, warps, registers in ((64, 8, None), (64, 4, None), (128, 8, None), (128, 16, None), (64, 16, None)):
        yield "forward", replace(fast, resident=True, forward=Tile(cells, 128, warps, 1, 1, registers))
    for cells, channels, warps, stages, registers in (
        (64, 64, 8, 1, None), (64, 64, 8, 1, 128), (64, 32, 4, 1, None), (64, 32, 8, 1, 128), (128, 64, 8, 1, None),
        (128, 32, 8, 1, None), (128, 32, 8, 1, 128), (64, 64, 4, 1, 168), (128, 32, 8, 2, None), (64, 64, 8, 2, None),
    ):  # fmt: skip
        yield "forward", replace(fast, resident=False, forward=Tile(cells, channels, warps, stages, 4, registers))
    for channels, warps, registers in ((32, 8, None), (32, 4, None), (16, 8, None), (64, 8, None), (32, 8, 128)):
        yield "forward", replace(exact, forward=Tile(64, channels, warps, 1, 4, registers))
    for base in (fast, exact):
        for channels, warps, registers in ((64, 8, None), (32, 8, None), (32, 4, None), (64, 8, 128), (32, 8, 128)):
            yield "hidden", replace(base, hidden=Tile(64, channels, warps, 1, 2, registers))
            yield "weights", replace(base, weights=Tile(64, channels, warps, 1, 1, registers))
        for cells, channels, warps, programs, registers in (
            (8, 128, 8, 1, None), (8, 128, 8, 2, 128), (4, 128, 4, 2, None), (8, 64, 4, 2, None), (16, 64, 8, 1, None),
            (4, 128, 8, 2, 128),
        ):  # fmt: skip
            yield "states", replace(base, states=Tile(cells, channels, warps, 1, programs, registers))
