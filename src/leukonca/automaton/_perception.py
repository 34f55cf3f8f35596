"""What cells see of their neighbourhood, and the way back; the filters of one vector of channels stay in registers."""

from typing import Any

from llvmlite import ir

from leukonca.automaton._vectors import INT64, Values, at, load, loop, multiply_add, native, number, procedure, store


def _neighbours(builder: ir.IRBuilder, base: ir.Value, place: ir.Value) -> Values:
    """Addresses of a cell's 3 x 3 neighbourhood, row by row; `place` holds its five offsets (see `_tiles`)."""
    own, up, down, left, right = (builder.load(at(builder, place, 8 * i, INT64), align=8) for i in range(5))
    middle = builder.add(base, own)
    return [
        address
        for row in (builder.add(middle, up), middle, builder.add(middle, down))
        for address in (builder.add(row, left), row, builder.add(row, right))
    ]


@native
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
            taps.append(load(builder, filters))
            filters = builder.add(filters, filter_step)

        def turn(carried: Values) -> Values:
            place, target = carried
            seen = [load(builder, address) for address in _neighbours(builder, state, place)]
            sums = taps[18:]
            for tap, value in enumerate(seen):
                sums = [multiply_add(builder, value, taps[9 * k + tap], sums[k]) for k in range(2)]
            store(builder, seen[4], target)
            for k in range(2):
                target_k = builder.add(target, builder.mul(view, number(k + 1)))
                store(builder, sums[k], target_k)
            return [builder.add(place, number(40)), builder.add(target, out_row)]

        loop(builder, count, [places, out], turn)

    return procedure(8, write)


@native
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
            taps.append(load(builder, filters))
            filters = builder.add(filters, filter_step)

        def turn(carried: Values) -> Values:
            place, source = carried
            own = load(builder, source)
            first = load(builder, builder.add(source, view))
            second = load(builder, builder.add(source, builder.add(view, view)))
            for tap, address in enumerate(_neighbours(builder, gradient, place)):
                # One after the other: on the smallest grids two neighbours are the same cell.
                value = load(builder, address)
                value = multiply_add(builder, first, taps[tap], value)
                value = multiply_add(builder, second, taps[9 + tap], value)
                if tap == 4:
                    value = builder.fadd(value, own)
                store(builder, value, address)
            return [builder.add(place, number(40)), builder.add(source, row)]

        loop(builder, count, [places, d_out], turn)

    return procedure(8, write)


@native
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
        start = [load(builder, target) for target in targets]

        def turn(carried: Values) -> Values:
            place, source, *sums = carried
            parts = [load(builder, builder.add(source, builder.mul(view, number(k)))) for k in (1, 2)]
            seen = [load(builder, address) for address in _neighbours(builder, state, place)]
            after = [multiply_add(builder, parts[i // 9], seen[i % 9], sums[i]) for i in range(18)]
            after += [builder.fadd(sums[18 + k], parts[k]) for k in range(2)]
            return [builder.add(place, number(40)), builder.add(source, row), *after]

        _, _, *sums = loop(builder, count, [places, d_out, *start], turn)
        for value, target in zip(sums, targets, strict=True):
            store(builder, value, target)

    return procedure(8, write)
