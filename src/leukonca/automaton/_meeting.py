"""Where threads that share an image wait for each other."""

import os
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from leukonca.automaton._stamped import kernel
from leukonca.automaton._vectors import INT64, at, native, number

_U = np.uintp

LOOKS = 2000
"""How often a thread looks for the others before it offers them its processor."""

_yield_processor: Any = (
    numba.njit(lambda: 0)  # there no image is shared
    if os.name == "nt"
    else types.ExternalFunction("sched_yield", types.int32())
)


@native
def arrive(context: Any, counter: Any) -> Any:
    """Add one to the int64 at an address, seen by all threads; what was there before is returned."""

    def generate(_: Any, builder: ir.IRBuilder, __: Any, values: Any) -> Any:
        return builder.atomic_rmw("add", at(builder, values[0], kind=INT64), number(1), "seq_cst")

    return types.int64(types.uintp), generate


@native
def arrived(context: Any, counter: Any) -> Any:
    """The int64 at an address, as the other threads left it."""

    def generate(_: Any, builder: ir.IRBuilder, __: Any, values: Any) -> Any:
        return builder.load_atomic(at(builder, values[0], kind=INT64), "seq_cst", 8)

    return types.int64(types.uintp), generate


@kernel
def meet(gate: NDArray[np.int64], turn: int, parts: int) -> None:
    """Wait until all parts have come here for the `turn`-th time, or one of them has failed (gate[8])."""
    if parts == 1:
        return
    counter, failed = _U(gate.ctypes.data), _U(gate.ctypes.data) + _U(64)
    arrive(counter)
    looks = 0
    while arrived(counter) < turn * parts and arrived(failed) == 0:
        looks += 1
        if looks > LOOKS:  # the other thread may need this processor
            _yield_processor()
