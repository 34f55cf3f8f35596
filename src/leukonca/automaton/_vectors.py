"""Vector code for the CPU engine's kernels, as LLVM instructions that Numba compiles with the rest: its words.

All addresses are in bytes and rows are padded to whole vectors of `LANES` numbers, so nothing here has a remainder.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

LANES = 16
"""Numbers in a vector: what the widest common processors hold in one register; narrower ones take several."""

BYTES = 4 * LANES

Values = list[ir.Value]

FLOAT = ir.FloatType()
VECTOR = ir.VectorType(FLOAT, LANES)
INT64 = ir.IntType(64)
INT32 = ir.IntType(32)
BYTE = ir.IntType(8)


def _wide() -> bool:
    """What Numba compiles for, which need not be the processor at hand (NUMBA_CPU_NAME, NUMBA_CPU_FEATURES)."""
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    return "+avx512f" in features.split(",")


WIDE = _wide()
"""32 registers of 16 numbers (AVX-512), or fewer or shorter ones (AVX2, NEON)."""


def number(value: int) -> ir.Constant:
    """A constant int64."""
    return ir.Constant(INT64, value)


def at(builder: ir.IRBuilder, address: ir.Value, offset: int = 0, kind: ir.Type = VECTOR) -> ir.Value:
    """An address, some bytes further, as a pointer."""
    place = builder.add(address, number(offset)) if offset else address
    return builder.inttoptr(place, kind.as_pointer())


def load(builder: ir.IRBuilder, address: ir.Value, offset: int = 0) -> ir.Value:
    """The vector at an address; any address will do."""
    return builder.load(at(builder, address, offset), align=4)


def store(builder: ir.IRBuilder, value: ir.Value, address: ir.Value, offset: int = 0) -> None:
    """Write the vector at an address; any address will do."""
    builder.store(value, at(builder, address, offset), align=4)


def spread(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """One number from memory in all lanes."""
    nothing = ir.Constant(VECTOR, ir.Undefined)
    first = builder.insert_element(nothing, builder.load(at(builder, address, kind=FLOAT), align=4), INT32(0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(INT32, LANES), [0] * LANES))


def multiply_add(builder: ir.IRBuilder, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
    """x * y + z, rounded once where the processor can."""
    name = f"llvm.fmuladd.v{LANES}f32"
    kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
    return builder.call(builder.module.globals.get(name) or ir.Function(builder.module, kind, name), [x, y, z])


def loop(builder: ir.IRBuilder, count: ir.Value, start: Values, body: Callable[[Values], Values]) -> Values:
    """Run `body` count >= 1 times; its values go from one turn into the next, the last ones are returned."""
    before = builder.block
    turn = builder.append_basic_block("turn")
    after = builder.append_basic_block("after")
    builder.branch(turn)
    builder.position_at_end(turn)
    left = builder.phi(INT64)
    carried = [builder.phi(value.type) for value in start]
    results = body(carried)
    fewer = builder.sub(left, number(1))
    for phi, first, then in zip([left, *carried], [count, *start], [fewer, *results], strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(then, builder.block)
    builder.cbranch(builder.icmp_unsigned("!=", fewer, number(0)), turn, after)
    builder.position_at_end(after)
    return results


def native(function: Callable[..., Any]) -> Any:
    """To be called from compiled code only."""
    return intrinsic(function)


def procedure(arguments: int, write: Callable[..., None]) -> tuple[Any, Any]:
    """What an intrinsic returns: so many addresses, strides and counts (uintp) in, nothing out."""

    def generate(context: Any, builder: ir.IRBuilder, _: Any, values: Any) -> Any:
        write(builder, *values)
        return context.get_dummy_value()

    return types.void(*[types.uintp] * arguments), generate
