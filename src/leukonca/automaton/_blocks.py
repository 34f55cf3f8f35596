"""Blocks of a matrix product, whose sums stay in registers.

BLAS packs both matrices again in every call, and an automaton's products are small: here the weights are packed
once a rollout. On the machine in docs/performance.md a block runs at the rate of a large product of a tuned library,
or somewhat above.
"""

from typing import Any

from llvmlite import ir

from leukonca.automaton._vectors import (
    BYTE,
    BYTES,
    INT32,
    Values,
    at,
    load,
    loop,
    multiply_add,
    native,
    number,
    procedure,
    spread,
    store,
)


def _block(rows: int, vectors: int) -> Any:
    """c[rows, vectors * LANES] += a[rows, depth] b[depth, vectors * LANES], the sums kept in registers.

    a, a_row, a_depth: address, and steps from row to row and along the depth; b, b_depth and c, c_row likewise.
    """

    def write(
        builder: ir.IRBuilder,
        a: ir.Value,
        a_row: ir.Value,
        a_depth: ir.Value,
        b: ir.Value,
        b_depth: ir.Value,
        c: ir.Value,
        c_row: ir.Value,
        depth: ir.Value,
    ) -> None:
        outputs, inputs = [c], [number(0)]
        for _ in range(1, rows):
            outputs.append(builder.add(outputs[-1], c_row))
            inputs.append(builder.add(inputs[-1], a_row))
        start = [load(builder, output, BYTES * j) for output in outputs for j in range(vectors)]

        def turn(carried: Values) -> Values:
            a_now, b_now, *sums = carried
            right = [load(builder, b_now, BYTES * j) for j in range(vectors)]
            after: Values = []
            for i in range(rows):
                left = spread(builder, builder.add(a_now, inputs[i]))
                old = sums[i * vectors : (i + 1) * vectors]
                after += [multiply_add(builder, left, r, z) for r, z in zip(right, old, strict=True)]
            return [builder.add(a_now, a_depth), builder.add(b_now, b_depth), *after]

        _, _, *sums = loop(builder, depth, [a, b, *start], turn)
        for index, value in enumerate(sums):
            store(builder, value, outputs[index // vectors], BYTES * (index % vectors))

    @native
    def block(
        context: Any, a: Any, a_row: Any, a_depth: Any, b: Any, b_depth: Any, c: Any, c_row: Any, depth: Any
    ) -> Any:
        return procedure(8, write)

    return block


block_6x4 = _block(6, 4)
block_2x4 = _block(2, 4)
block_8x3 = _block(8, 3)
block_8x2 = _block(8, 2)
block_8x1 = _block(8, 1)
block_6x1 = _block(6, 1)
block_2x1 = _block(2, 1)


@native
def fetch(context: Any, address: Any, count: Any) -> Any:
    """Ask for `count` >= 1 cache lines from an address on, which will be needed soon; never fails."""

    def write(builder: ir.IRBuilder, address: ir.Value, count: ir.Value) -> None:
        name = "llvm.prefetch.p0"
        kind = ir.FunctionType(ir.VoidType(), [BYTE.as_pointer(), INT32, INT32, INT32])
        procedure = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)

        def turn(carried: Values) -> Values:
            (line,) = carried
            # To be read, into the second cache, as data.
            builder.call(procedure, [at(builder, line, kind=BYTE), INT32(0), INT32(2), INT32(1)])
            return [builder.add(line, number(BYTES))]

        loop(builder, count, [address], turn)

    return procedure(2, write)
