"""The fast engine for processors: compiled, threaded, only firing cells, no torch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leukonca.automaton import _kernels
from leukonca.automaton._firing import count_firing
from leukonca.automaton._memory import aligned, borrow, give_back_with
from leukonca.automaton._packing import odd_lines, pack, pack_back, padded, unpack_gradients, zero_gradients
from leukonca.automaton._parallel import Gate, over_images
from leukonca.automaton._tiles import SPARE, TILE, Scratch
from leukonca.automaton.fire import check_seeds, fire_threshold
from leukonca.automaton.rule import Array, Rule, RuleGradient
from leukonca.errors import UsageError


@dataclass(frozen=True)
class Tape:
    """What a backward pass needs of a forward pass: the last states and, per image, what each step replaced."""

    states: Array  # [B, H, W, C], the first K channels the image
    replaced: tuple[Array, ...]  # per image [firing cells of all steps, C padded]
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
    return states[..., : rule.channels]


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
    batch, _, height, width = images.shape
    recorded = np.empty((batch, steps, height * width, padded(rule.channels)), np.float32)
    _run(images, rule, steps, fire_rate, seeds, threads, keep=False, recorded=recorded)
    by_step = recorded.transpose(1, 0, 2, 3).reshape(steps, batch, height, width, -1)
    return by_step[..., : rule.channels]


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
    tape = Tape(states[..., : rule.channels], replaced, hidden, seeds, steps, fire_rate, images.shape[1])
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
    """
    batch, height, width, channels = tape.states.shape
    row = odd_lines(channels)
    frozen = tape.frozen
    packed, back = pack(rule, frozen), pack_back(rule, frozen)
    limit = np.uint64(fire_threshold(tape.fire_rate))
    sums = [zero_gradients(rule) for _ in range(batch)]
    d_images = np.empty((batch, frozen, height, width), np.float32)

    def one(b: int, _: int, __: int, ___: Gate) -> None:
        state, flowing = (aligned(height * width, row) for _ in range(2))
        for padded_rows, rows in ((state, tape.states[b]), (flowing, gradient[b])):
            padded_rows[:, channels:] = 0
            padded_rows[:, :channels] = rows.reshape(height * width, channels)
        change = aligned(height * width + SPARE, row)
        _kernels.backward(
            state, flowing, packed, back, _scratch(rule, height * width), change, height, width, tape.steps,
            tape.seeds[b], limit, tape.replaced[b], tape.hidden[b], frozen, sums[b],
        )  # fmt: skip
        d_images[b] = flowing[:, :frozen].T.reshape(frozen, height, width)

    over_images(one, batch, threads, most_parts=1)
    filters, w0, b0, w1 = (sum(parts[1:], start=parts[0]) for parts in zip(*sums, strict=True))
    return d_images, unpack_gradients((filters, w0, b0, w1), rule)


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
    """Last states [B, H, W, C padded], and of each image the tapes if `keep`; `recorded` takes every state."""
    batch, frozen, height, width = images.shape
    if height * width > _kernels.MOST_CELLS:
        raise UsageError(f"{height} x {width} cells: engine 'cpu' takes at most {_kernels.MOST_CELLS}; use 'torch'")
    packed = pack(rule, frozen)
    limit = np.uint64(fire_threshold(fire_rate))
    channels, hidden = padded(rule.channels), padded(rule.hidden)
    states = aligned(batch, height * width, odd_lines(channels))
    tapes: list[tuple[Array, Array]] = []
    for b in range(batch if keep else 0):
        rows = count_firing(seeds[b], steps, height, width, limit) + SPARE
        tapes.append((borrow(rows, channels), borrow(rows, hidden)))
    # Otherwise one step is all that a thread holds, and what threads share an image in serves one image after another.
    step_shape, none = (height * width + SPARE, channels), aligned(0, hidden)
    shared = aligned(*step_shape)

    def one(b: int, part: int, parts: int, gate: Gate) -> None:
        if part == 0:
            states[b] = 0
            states[b, :, :frozen] = images[b].reshape(frozen, -1).T
        after = np.empty((0, 0, 0), np.float32) if recorded is None else recorded[b]
        tape = tapes[b] if keep else (shared if parts > 1 else aligned(*step_shape), none)
        _kernels.forward(
            states[b], packed, _scratch(rule, height * width), height, width, steps, seeds[b], limit,
            *tape, keep, after, part, parts, gate,
        )  # fmt: skip

    over_images(one, batch, threads, most_parts=max(1, height * width // SMALLEST_PART))
    return states.reshape(batch, height, width, -1), tapes


SMALLEST_PART = 256
"""Cells of a grid that are worth a thread of their own."""


def _scratch(rule: Rule, cells: int) -> Scratch:
    """Memory of one thread."""
    seen, units = odd_lines(3 * padded(rule.channels)), odd_lines(padded(rule.hidden))
    return (
        aligned(TILE, seen),
        aligned(TILE, seen),
        aligned(TILE, units),
        aligned(TILE, units),
        np.empty((TILE, 5), np.int64),
        np.empty(cells + 1, np.int32),
    )
