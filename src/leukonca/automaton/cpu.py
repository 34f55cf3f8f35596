"""The fast engine for processors: compiled, threaded, only firing cells, no torch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leukonca.automaton import _kernels
from leukonca.automaton._firing import count_firing
from leukonca.automaton._kernels import Packed
from leukonca.automaton._memory import aligned, borrow, give_back_with
from leukonca.automaton._packing import (
    odd_lines,
    pack,
    pack_back,
    padded,
    side_by_side,
    unpack_gradients,
    zero_gradients,
)
from leukonca.automaton._parallel import Gate, over_images
from leukonca.automaton._tiles import SPARE, TILE, Scratch
from leukonca.automaton._vectors import LANES
from leukonca.automaton.fire import check_seeds, fire_threshold
from leukonca.automaton.rule import Array, Rule, RuleGradient
from leukonca.errors import UsageError


@dataclass(frozen=True)
class Tape:
    """What a backward pass needs of a forward pass: the last states and, per image, what each step replaced."""

    states: Array  # [B, H, W, C], the first K channels the image
    replaced: tuple[Array, ...]  # per image [firing cells of all steps, C padded], without held channels
    hidden: tuple[Array, ...]  # per image [firing cells of all steps, hidden padded]
    seeds: NDArray[np.uint32]  # [B]
    steps: int
    fire_rate: float
    frozen: int  # K


def rollout(
    images: Array,
    rule: Rule,
    *,
    steps: int,
    fire_rate: float,
    seeds: NDArray[np.uint32] | int,
    threads: int | None = None,
) -> Array:
    """States after the last step.

    Args:
        images: float32 [B, K, H, W], normalised; H, W >= 2; they are the first K channels of the state (see
            `leukonca.automaton.reference.rollout`).
        rule: the parameters.
        steps: how many.
        fire_rate: expected share of firing cells a step, in (0, 1].
        seeds: one for all images, or one an image.
        threads: images worked on at once; None: as many as the machine has, or OMP_NUM_THREADS.

    Returns:
        float32 [B, H, W, C].
    """
    seeds = check_seeds(seeds, len(images))
    states, _ = _run(images, rule, steps, fire_rate, seeds, threads, keep=False)
    return states


def rollout_recorded(
    images: Array,
    rule: Rule,
    *,
    steps: int,
    fire_rate: float,
    seeds: NDArray[np.uint32] | int,
    threads: int | None = None,
) -> Array:
    """States after every step, float32 [steps, B, H, W, C]; arguments as `rollout`."""
    seeds = check_seeds(seeds, len(images))
    batch, frozen, height, width = images.shape
    held = _held(rule, frozen)
    recorded = np.empty((batch, steps, height * width, padded(rule.channels - held)), np.float32)
    states, _ = _run(images, rule, steps, fire_rate, seeds, threads, keep=False, recorded=recorded)
    by_step = recorded.transpose(1, 0, 2, 3).reshape(steps, batch, height, width, -1)
    return _with_held(states[..., :held], by_step[..., : rule.channels - held])


def rollout_taped(
    images: Array,
    rule: Rule,
    *,
    steps: int,
    fire_rate: float,
    seeds: NDArray[np.uint32],
    threads: int | None = None,
) -> Tape:
    """Like `rollout`, keeping what `rollout_backward` needs: one row of state and hidden layer per firing cell."""
    states, kept = _run(images, rule, steps, fire_rate, seeds, threads, keep=True)
    replaced, hidden = zip(*kept, strict=True)
    tape = Tape(states, replaced, hidden, seeds, steps, fire_rate, images.shape[1])
    for rows in (*replaced, *hidden):
        give_back_with(rows, [rows])
    return tape


def rollout_backward(
    tape: Tape, gradient: Array, rule: Rule, *, threads: int | None = None
) -> tuple[Array, RuleGradient]:
    """Gradients of a loss by the images and by the rule.

    The sum over images is taken in their order, so the bits do not depend on the number of threads.

    Args:
        tape: of the forward pass; may be used once more, it is not changed.
        gradient: of the loss by the last states, float32 [B, H, W, C].
        rule: the same parameters as in the forward pass.
        threads: as in `rollout`.

    Returns:
        by the images [B, K, H, W], and by the rule's parameters.

    Raises:
        UsageError: a gradient of another shape than the states'.
    """
    if gradient.shape != tape.states.shape:
        raise UsageError(f"the gradient has shape {gradient.shape}; the states have {tape.states.shape}")
    batch, height, width, channels = tape.states.shape
    cells, held = height * width, _held(rule, tape.frozen)
    moving, row = rule.of_channels(held, channels), odd_lines(channels - held)
    frozen = tape.frozen - held
    packed, back = pack(moving, frozen), pack_back(moving, frozen)
    image_rule = rule.of_channels(0, held) if held else None
    image_packed = (pack(image_rule, held), pack_back(image_rule, held)) if image_rule else None
    limit = np.uint64(fire_threshold(tape.fire_rate))
    sums = [zero_gradients(moving, cells if held else 1) for _ in range(batch)]
    image_sums = [zero_gradients(image_rule) for _ in range(batch)] if image_rule else []
    d_images = np.empty((batch, tape.frozen, height, width), np.float32)

    def one(b: int, _: int, __: int, ___: Gate) -> None:
        state, flowing = (_rows(array[b, ..., held:], row) for array in (tape.states, gradient))
        scratch, change = _scratch(rule, held, cells), aligned(cells + SPARE, row)
        _kernels.backward(
            state, flowing, packed, back, scratch, change, height, width, tape.steps,
            tape.seeds[b], limit, tape.replaced[b], tape.hidden[b], frozen, sums[b],
        )  # fmt: skip
        d_images[b, held:] = flowing[:, :frozen].T.reshape(frozen, height, width)
        if image_packed:
            image, flowing = (_rows(array[b, ..., :held], odd_lines(held)) for array in (tape.states, gradient))
            _kernels.backward_drive(
                image, flowing, *image_packed, scratch, height, width, sums[b][2], image_sums[b]
            )  # fmt: skip
            d_images[b, :held] = flowing[:, :held].T.reshape(held, height, width)

    over_images(one, batch, threads, most_parts=1)
    # Where each cell has a bias of its own, the image's part has summed their gradients up already.
    by_rule = unpack_gradients(_sum([(filters, w0, b0[:1], w1) for filters, w0, b0, w1 in sums]), moving)
    return d_images, side_by_side(unpack_gradients(_sum(image_sums), image_rule), by_rule) if image_rule else by_rule


def _held(rule: Rule, frozen: int) -> int:
    """Channels of the image that are no part of what the kernels change: as many as fill whole vectors; none where no
    others would be left."""
    whole = frozen // LANES * LANES
    return whole if whole < rule.channels else 0


def _with_held(held: Array, others: Array) -> Array:
    """States [..., B, H, W, C] of the channels held, [B, H, W, held], and of all others."""
    if not held.shape[-1]:
        return others
    states = np.empty((*others.shape[:-1], held.shape[-1] + others.shape[-1]), np.float32)
    states[..., : held.shape[-1]] = held
    states[..., held.shape[-1] :] = others
    return states


def _rows(cells: Array, row: int) -> Array:
    """[H, W, C] as aligned rows of `row` numbers, filled up with zeros."""
    rows = aligned(cells.shape[0] * cells.shape[1], row)
    rows[:, cells.shape[2] :] = 0
    rows[:, : cells.shape[2]] = cells.reshape(len(rows), -1)
    return rows


def _sum(parts: list[Packed]) -> Packed:
    """One after the other, so that nothing depends on threads."""
    filters, w0, b0, w1 = (sum(arrays[1:], start=arrays[0]) for arrays in zip(*parts, strict=True))
    return filters, w0, b0, w1


def _run(
    images: Array,
    rule: Rule,
    steps: int,
    fire_rate: float,
    seeds: NDArray[np.uint32],
    threads: int | None,
    *,
    keep: bool,
    recorded: Array | None = None,
) -> tuple[Array, list[tuple[Array, Array]]]:
    """Last states [B, H, W, C], and of each image the tapes if `keep`; `recorded` takes every state.

    Channels of the image that fill whole vectors are no part of what the kernels see as state, nor of `recorded`.
    """
    batch, frozen, height, width = images.shape
    if height * width > _kernels.MOST_CELLS:
        raise UsageError(f"{height} x {width} cells: engine 'cpu' takes at most {_kernels.MOST_CELLS}; use 'torch'")
    cells, held = height * width, _held(rule, frozen)
    moving = rule.of_channels(held, rule.channels)
    packed = pack(moving, frozen - held)
    image_packed = pack(rule.of_channels(0, held), held) if held else None
    limit = np.uint64(fire_threshold(fire_rate))
    channels, hidden = padded(moving.channels), padded(rule.hidden)
    states = aligned(batch, cells, odd_lines(channels))
    tapes: list[tuple[Array, Array]] = []
    for b in range(batch if keep else 0):
        rows = count_firing(seeds[b], steps, height, width, limit) + SPARE
        tapes.append((borrow(rows, channels), borrow(rows, hidden)))
    # Otherwise one step is all that a thread holds, and what threads share an image in serves one image after another.
    step_shape, none = (cells + SPARE, channels), aligned(0, hidden)
    shared, shared_drive = aligned(*step_shape), aligned(cells + SPARE if held else 0, hidden)

    def one(b: int, part: int, parts: int, gate: Gate) -> None:
        if part == 0:
            states[b] = 0
            states[b, :, : frozen - held] = images[b, held:].reshape(frozen - held, cells).T
        after = np.empty((0, 0, 0), np.float32) if recorded is None else recorded[b]
        tape = tapes[b] if keep else (shared if parts > 1 else aligned(*step_shape), none)
        scratch, this = _scratch(rule, held, cells), packed
        if image_packed:
            filters, w0, _, w1 = packed
            b0 = shared_drive if parts > 1 else aligned(*shared_drive.shape)
            image = _rows(images[b, :held].transpose(1, 2, 0), odd_lines(held))
            _kernels.drive(image, image_packed, scratch, height, width, part, parts, b0)
            this = filters, w0, b0, w1
        _kernels.forward(
            states[b], this, scratch, height, width, steps, seeds[b], limit, *tape, keep, after, part, parts, gate
        )

    over_images(one, batch, threads, most_parts=max(1, cells // SMALLEST_PART))
    last = states[..., : moving.channels].reshape(batch, height, width, -1)
    return _with_held(images[:, :held].transpose(0, 2, 3, 1), last), tapes


SMALLEST_PART = 256
"""Cells of a grid that are worth a thread of their own."""


def _scratch(rule: Rule, held: int, cells: int) -> Scratch:
    """Memory of one thread, for the held channels and for the others."""
    seen = odd_lines(3 * padded(max(held, rule.channels - held)))
    units = odd_lines(padded(rule.hidden))
    return (
        aligned(TILE, seen),
        aligned(TILE, seen),
        aligned(TILE, units),
        aligned(TILE, units),
        np.empty((TILE, 5), np.int64),
        np.empty(cells + 1, np.int32),
    )
