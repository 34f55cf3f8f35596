"""The fast engine for processors: compiled, one image per thread, only firing cells, no torch."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukonca.automaton import _blas, _kernels
from leukonca.automaton._memory import borrow, give_back_with
from leukonca.automaton.fire import check_seeds, fire_threshold
from leukonca.automaton.rule import IMAGE_CHANNELS, Array, Rule
from leukonca.threads import default_threads


@dataclass(frozen=True)
class Tape:
    """What a backward pass needs of a forward pass: the last states and, per image, what each step replaced."""

    states: Array  # [B, H, W, C]
    replaced: tuple[Array, ...]  # per image [firing cells of all steps, C]
    hidden: tuple[Array, ...]  # per image [firing cells of all steps, hidden]
    seeds: NDArray[np.uint32]  # [B]
    steps: int
    fire_rate: float


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
        images: float32 [B, 3, H, W], normalised; H, W >= 2.
        rule: the parameters.
        steps: how many.
        fire_rate: expected share of firing cells a step, in (0, 1].
        seeds: one for all images, or one an image.
        threads: images worked on at once; None: as many as the machine has, or OMP_NUM_THREADS.

    Returns:
        float32 [B, H, W, C].
    """
    seeds = check_seeds(seeds, len(images))
    states, _ = _run(images, rule, steps, fire_rate, seeds, threads, keep=False, record=False)
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
    batch, _, height, width = images.shape
    record = np.empty((batch, steps, height * width, rule.channels), np.float32)
    _run(images, rule, steps, fire_rate, seeds, threads, keep=False, record=True, recorded=record)
    return record.transpose(1, 0, 2, 3).reshape(steps, batch, height, width, rule.channels)


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
    states, kept = _run(images, rule, steps, fire_rate, seeds, threads, keep=True, record=False)
    replaced, hidden = zip(*kept, strict=True)
    tape = Tape(states, replaced, hidden, seeds, steps, fire_rate)
    give_back_with(tape, [*replaced, *hidden])
    return tape


def rollout_backward(tape: Tape, gradient: Array, rule: Rule, *, threads: int | None = None) -> tuple[Array, Rule]:
    """Gradients of a loss by the images and by the rule.

    The sum over images is taken in their order, so the bits do not depend on the number of threads.

    Args:
        tape: of the forward pass; may be used once more, it is not changed.
        gradient: of the loss by the last states, float32 [B, H, W, C].
        rule: the same parameters as in the forward pass.
        threads: as in `rollout`.

    Returns:
        by the images [B, 3, H, W], and by the rule's parameters, in a `Rule`.
    """
    batch, height, width, channels = tape.states.shape
    packed = _pack(rule)
    transposed = (np.ascontiguousarray(packed[2].T), np.ascontiguousarray(packed[4].T))
    limit = np.uint64(fire_threshold(tape.fire_rate))
    flowing = np.array(gradient, dtype=np.float32, order="C").reshape(batch, height * width, channels)
    sums = [_zeros_like(packed) for _ in range(batch)]

    def one(b: int) -> None:
        state = tape.states[b].reshape(height * width, channels).copy()
        seed = tape.seeds[b]
        _kernels.backward(
            state, flowing[b], packed, transposed, height, width, tape.steps, seed, limit,
            tape.replaced[b], tape.hidden[b], sums[b],
        )  # fmt: skip

    _over_images(one, batch, threads)
    total = [sum(parts[1:], start=parts[0]) for parts in zip(*sums, strict=True)]
    d_images = flowing[..., :IMAGE_CHANNELS].transpose(0, 2, 1).reshape(batch, IMAGE_CHANNELS, height, width)
    return d_images, _unpack(total, channels)


def _run(
    images: Array,
    rule: Rule,
    steps: int,
    fire_rate: float,
    seeds: NDArray[np.uint32],
    threads: int | None,
    *,
    keep: bool,
    record: bool,
    recorded: Array | None = None,
) -> tuple[Array, list[tuple[Array, Array]]]:
    batch, _, height, width = images.shape
    packed = _pack(rule)
    limit = np.uint64(fire_threshold(fire_rate))
    states = np.zeros((batch, height, width, rule.channels), np.float32)
    states[..., :IMAGE_CHANNELS] = images.transpose(0, 2, 3, 1)
    kept: list[tuple[Array, Array]] = [(_NOTHING, _NOTHING)] * batch

    def one(b: int) -> None:
        if keep:
            rows = _kernels.count_firing(seeds[b], steps, height, width, limit)
            shapes = (rows, rule.channels), (rows, rule.hidden)
        else:
            shapes = (height * width, rule.channels), (_kernels.TILE, rule.hidden)
        tape, hidden = (borrow(*shape) if keep else np.empty(shape, np.float32) for shape in shapes)
        after = recorded[b] if record and recorded is not None else np.empty((0, 0, 0), np.float32)
        flat = states[b].reshape(height * width, rule.channels)
        _kernels.forward(flat, packed, height, width, steps, seeds[b], limit, tape, hidden, keep, after)
        if keep:
            kept[b] = (tape, hidden)

    _over_images(one, batch, threads)
    return states, kept


_NOTHING = np.empty((0, 0), np.float32)


def _pack(rule: Rule) -> _kernels.Packed:
    """Channels last and input-major, so that the innermost loops run over neighbouring memory."""
    update = rule.update_weight.T.copy()  # [hidden, C]
    update[:, :IMAGE_CHANNELS] = 0
    return (
        np.ascontiguousarray(rule.kernels.reshape(2, rule.channels, 9).transpose(0, 2, 1), np.float32),
        np.ascontiguousarray(rule.kernel_bias, np.float32),
        np.ascontiguousarray(rule.hidden_weight.T, np.float32),
        np.ascontiguousarray(rule.hidden_bias, np.float32),
        np.ascontiguousarray(update, np.float32),
    )


def _zeros_like(packed: _kernels.Packed) -> _kernels.Packed:
    a, b, c, d, e = (np.zeros_like(array) for array in packed)
    return a, b, c, d, e


def _unpack(packed: list[Any], channels: int) -> Rule:
    kernels, kernel_bias, w0, b0, w1 = packed
    return Rule(
        kernels=np.ascontiguousarray(kernels.transpose(0, 2, 1)).reshape(2, channels, 3, 3),
        kernel_bias=kernel_bias,
        hidden_weight=np.ascontiguousarray(w0.T),
        hidden_bias=b0,
        update_weight=np.ascontiguousarray(w1.T),
    )


def _over_images(one: Callable[[int], None], batch: int, threads: int | None) -> None:
    """Each image in one thread."""

    def alone(b: int) -> None:
        with _blas.one_thread_for_this():
            one(b)

    workers = min(batch, threads or default_threads())
    with _blas.one_thread_for_all():
        if workers <= 1:
            for b in range(batch):
                alone(b)
            return
        with ThreadPoolExecutor(workers) as pool:
            for done in [pool.submit(alone, b) for b in range(batch)]:
                done.result()
