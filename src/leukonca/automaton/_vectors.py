"""Hand-laid vector code for the CPU engine, as LLVM instructions that Numba compiles with the rest.

BLAS packs both matrices again in every call, and an automaton's products are small: here the weights are packed
once a rollout, the sums of one block stay in registers, and the perception keeps its filters there. On the machine
in docs/performance.md a block runs at the rate of a large product of a tuned library, or somewhat above.

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

_float = ir.FloatType()
_vector = ir.VectorType(_float, LANES)
_int64 = ir.IntType(64)
_int32 = ir.IntType(32)
_byte = ir.IntType(8)


def _wide() -> bool:
    """What Numba compiles for, which need not be the processor at hand (NUMBA_CPU_NAME, NUMBA_CPU_FEATURES)."""
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    return "+avx512f" in features.split(",")


WIDE = _wide()
"""32 registers of 16 numbers (AVX-512), or fewer or shorter ones (AVX2, NEON)."""


def _number(value: int) -> ir.Constant:
    return ir.Constant(_int64, value)


def _at(builder: ir.IRBuilder, address: ir.Value, offset: int = 0, kind: ir.Type = _vector) -> ir.Value:
    place = builder.add(address, _number(offset)) if offset else address
    return builder.inttoptr(place, kind.as_pointer())


def _load(builder: ir.IRBuilder, address: ir.Value, offset: int = 0) -> ir.Value:
    return builder.load(_at(builder, address, offset), align=4)


def _store(builder: ir.IRBuilder, value: ir.Value, address: ir.Value, offset: int = 0) -> None:
    builder.store(value, _at(builder, address, offset), align=4)


def _spread(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """One number from memory in all lanes."""
    nothing = ir.Constant(_vector, ir.Undefined)
    first = builder.insert_element(nothing, builder.load(_at(builder, address, kind=_float), align=4), _int32(0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(_int32, LANES), [0] * LANES))


def _multiply_add(builder: ir.IRBuilder, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
    name = f"llvm.fmuladd.v{LANES}f32"
    kind = ir.FunctionType(_vector, [_vector] * 3)
    return builder.call(builder.module.globals.get(name) or ir.Function(builder.module, kind, name), [x, y, z])


def _loop(builder: ir.IRBuilder, count: ir.Value, start: Values, body: Callable[[Values], Values]) -> Values:
    """Run `body` count >= 1 times; its values go from one turn into the next, the last ones are returned."""
    before = builder.block
    turn = builder.append_basic_block("turn")
    after = builder.append_basic_block("after")
    builder.branch(turn)
    builder.position_at_end(turn)
    left = builder.phi(_int64)
    carried = [builder.phi(value.type) for value in start]
    results = body(carried)
    fewer = builder.sub(left, _number(1))
    for phi, first, then in zip([left, *carried], [count, *start], [fewer, *results], strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(then, builder.block)
    builder.cbranch(builder.icmp_unsigned("!=", fewer, _number(0)), turn, after)
    builder.position_at_end(after)
    return results


def _native(function: Callable[..., Any]) -> Any:
    """To be called from compiled code only."""
    return intrinsic(function)


def _procedure(arguments: int, write: Callable[..., None]) -> tuple[Any, Any]:
    """What an intrinsic returns: so many addresses, strides and counts (uintp) in, nothing out."""

    def generate(context: Any, builder: ir.IRBuilder, _: Any, values: Any) -> Any:
        write(builder, *values)
        return context.get_dummy_value()

    return types.void(*[types.uintp] * arguments), generate


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
        outputs, inputs = [c], [_number(0)]
        for _ in range(1, rows):
            outputs.append(builder.add(outputs[-1], c_row))
            inputs.append(builder.add(inputs[-1], a_row))
        start = [_load(builder, output, BYTES * j) for output in outputs for j in range(vectors)]

        def turn(carried: Values) -> Values:
            a_now, b_now, *sums = carried
            right = [_load(builder, b_now, BYTES * j) for j in range(vectors)]
            after: Values = []
            for i in range(rows):
                left = _spread(builder, builder.add(a_now, inputs[i]))
                old = sums[i * vectors : (i + 1) * vectors]
                after += [_multiply_add(builder, left, r, z) for r, z in zip(right, old, strict=True)]
            return [builder.add(a_now, a_depth), builder.add(b_now, b_depth), *after]

        _, _, *sums = _loop(builder, depth, [a, b, *start], turn)
        for index, value in enumerate(sums):
            _store(builder, value, outputs[index // vectors], BYTES * (index % vectors))

    @_native
    def block(
        context: Any, a: Any, a_row: Any, a_depth: Any, b: Any, b_depth: Any, c: Any, c_row: Any, depth: Any
    ) -> Any:
        return _procedure(8, write)

    return block


block_6x4 = _block(6, 4)
block_2x4 = _block(2, 4)
block_8x3 = _block(8, 3)
block_8x2 = _block(8, 2)
block_8x1 = _block(8, 1)
block_6x1 = _block(6, 1)
block_2x1 = _block(2, 1)


def _neighbours(builder: ir.IRBuilder, base: ir.Value, place: ir.Value) -> Values:
    """Addresses of a cell's 3 x 3 neighbourhood, row by row; `place` holds its five offsets (see `_kernels`)."""
    own, up, down, left, right = (builder.load(_at(builder, place, 8 * i, _int64), align=8) for i in range(5))
    middle = builder.add(base, own)
    return [
        address
        for row in (builder.add(middle, up), middle, builder.add(middle, down))
        for address in (builder.add(row, left), row, builder.add(row, right))
    ]


@_native
def perceive(
    context: Any, state: Any, places: Any, count: Any, filters: Any, filter_step: Any, out: Any, out_row: Any, view: Any
) -> Any:
    """What `count` cells see, for one vector of channels.

    state: address of these channels of cell 0. places: five offsets a cell. filters: address of 18 filter taps and
    two biases for these channels, `filter_step` apart. out: address of these channels in the first row; rows are
    `out_row` apart, the three parts of a row `view`.
    """

    def write(
        builder: ir.IRBuilder,
        state: ir.Value,
        places: ir.Value,
        count: ir.Value,
        filters: ir.Value,
        filter_step: ir.Value,
        out: ir.Value,
        out_row: ir.Value,
        view: ir.Value,
    ) -> None:
        taps = []
        for _ in range(20):
            taps.append(_load(builder, filters))
            filters = builder.add(filters, filter_step)

        def turn(carried: Values) -> Values:
            place, target = carried
            seen = [_load(builder, address) for address in _neighbours(builder, state, place)]
            sums = taps[18:]
            for tap, value in enumerate(seen):
                sums = [_multiply_add(builder, value, taps[9 * k + tap], sums[k]) for k in range(2)]
            _store(builder, seen[4], target)
            for k in range(2):
                target_k = builder.add(target, builder.mul(view, _number(k + 1)))
                _store(builder, sums[k], target_k)
            return [builder.add(place, _number(40)), builder.add(target, out_row)]

        _loop(builder, count, [places, out], turn)

    return _procedure(8, write)


@_native
def spread_back(
    context: Any,
    gradient: Any,
    places: Any,
    count: Any,
    filters: Any,
    filter_step: Any,
    d_out: Any,
    row: Any,
    view: Any,
) -> Any:
    """Add to every cell's gradient what its firing neighbours saw of it; arguments as `perceive`, reversed."""

    def write(
        builder: ir.IRBuilder,
        gradient: ir.Value,
        places: ir.Value,
        count: ir.Value,
        filters: ir.Value,
        filter_step: ir.Value,
        d_out: ir.Value,
        row: ir.Value,
        view: ir.Value,
    ) -> None:
        taps = []
        for _ in range(18):
            taps.append(_load(builder, filters))
            filters = builder.add(filters, filter_step)

        def turn(carried: Values) -> Values:
            place, source = carried
            own = _load(builder, source)
            first = _load(builder, builder.add(source, view))
            second = _load(builder, builder.add(source, builder.add(view, view)))
            for tap, address in enumerate(_neighbours(builder, gradient, place)):
                # One after the other: on the smallest grids two neighbours are the same cell.
                value = _load(builder, address)
                value = _multiply_add(builder, first, taps[tap], value)
                value = _multiply_add(builder, second, taps[9 + tap], value)
                if tap == 4:
                    value = builder.fadd(value, own)
                _store(builder, value, address)
            return [builder.add(place, _number(40)), builder.add(source, row)]

        _loop(builder, count, [places, d_out], turn)

    return _procedure(8, write)


@_native
def filter_gradient(
    context: Any, state: Any, places: Any, count: Any, d_out: Any, row: Any, view: Any, d_filters: Any, filter_step: Any
) -> Any:
    """Add `count` cells' gradients by the 18 filter taps and two biases; arguments as `perceive`, reversed."""

    def write(
        builder: ir.IRBuilder,
        state: ir.Value,
        places: ir.Value,
        count: ir.Value,
        d_out: ir.Value,
        row: ir.Value,
        view: ir.Value,
        d_filters: ir.Value,
        filter_step: ir.Value,
    ) -> None:
        targets = [d_filters]
        for _ in range(19):
            targets.append(builder.add(targets[-1], filter_step))
        start = [_load(builder, target) for target in targets]

        def turn(carried: Values) -> Values:
            place, source, *sums = carried
            parts = [_load(builder, builder.add(source, builder.mul(view, _number(k)))) for k in (1, 2)]
            seen = [_load(builder, address) for address in _neighbours(builder, state, place)]
            after = [_multiply_add(builder, parts[i // 9], seen[i % 9], sums[i]) for i in range(18)]
            after += [builder.fadd(sums[18 + k], parts[k]) for k in range(2)]
            return [builder.add(place, _number(40)), builder.add(source, row), *after]

        _, _, *sums = _loop(builder, count, [places, d_out, *start], turn)
        for value, target in zip(sums, targets, strict=True):
            _store(builder, value, target)

    return _procedure(8, write)


@_native
def fetch(context: Any, address: Any, count: Any) -> Any:
    """Ask for `count` >= 1 cache lines from an address on, which will be needed soon; never fails."""

    def write(builder: ir.IRBuilder, address: ir.Value, count: ir.Value) -> None:
        name = "llvm.prefetch.p0"
        kind = ir.FunctionType(ir.VoidType(), [_byte.as_pointer(), _int32, _int32, _int32])
        procedure = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)

        def turn(carried: Values) -> Values:
            (line,) = carried
            # To be read, into the second cache, as data.
            builder.call(procedure, [_at(builder, line, kind=_byte), _int32(0), _int32(2), _int32(1)])
            return [builder.add(line, _number(BYTES))]

        _loop(builder, count, [address], turn)

    return _procedure(2, write)


@_native
def arrive(context: Any, counter: Any) -> Any:
    """Add one to the int64 at an address, seen by all threads; what was there before is returned."""

    def generate(_: Any, builder: ir.IRBuilder, __: Any, values: Any) -> Any:
        return builder.atomic_rmw("add", _at(builder, values[0], kind=_int64), _number(1), "seq_cst")

    return types.int64(types.uintp), generate


@_native
def arrived(context: Any, counter: Any) -> Any:
    """The int64 at an address, as the other threads left it."""

    def generate(_: Any, builder: ir.IRBuilder, __: Any, values: Any) -> Any:
        return builder.load_atomic(_at(builder, values[0], kind=_int64), "seq_cst", 8)

    return types.int64(types.uintp), generate
