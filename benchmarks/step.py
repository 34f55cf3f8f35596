"""Where a training step's time goes: forward with its tape, backward, and what torch and the head add."""

from functools import partial

import numpy as np
import torch

from against_eager import PRODUCT
from leukonca.automaton import cpu
from leukonca.automaton.rule import Rule
from measuring import Effort, Row, in_turns, multiply_adds, pair, pictures, predict, train

BATCH = 4


def measure(effort: Effort) -> list[Row]:
    a = effort.architecture
    model, _ = pair(a)
    images = pictures(BATCH, a.grid)
    rule = Rule(*(getattr(model, name).detach().numpy() for name in Rule.__dataclass_fields__))
    given = {"steps": a.steps, "fire_rate": a.fire_rate, "threads": torch.get_num_threads()}
    given["seeds"] = np.arange(BATCH, dtype=np.uint32)
    side = 256 if effort.quick else PRODUCT
    matrix = np.random.default_rng(0).normal(size=(side, side)).astype(np.float32)
    tape = cpu.rollout_taped(images.numpy(), rule, **given)
    gradient = np.random.default_rng(1).normal(size=tape.states.shape).astype(np.float32)
    runs = {
        "predict": partial(predict, model, images),
        "taped": partial(cpu.rollout_taped, images.numpy(), rule, **given),
        "backward": partial(cpu.rollout_backward, tape, gradient, rule, threads=given["threads"]),
        "train": partial(train, model, images),
        "product": partial(np.matmul, matrix, matrix),
    }
    for once in runs.values():
        once()
    took = in_turns(runs, effort.repeats)
    once_through = 2 * multiply_adds(a, BATCH) / 1e9
    product = 2 * side**3 / took["product"] / 1e9
    work = {"predict": 1, "taped": 1, "backward": 2, "train": 3}
    return [
        {
            "what": what,
            "batch": BATCH,
            "milliseconds": 1000 * took[what],
            "of_step": took[what] / took["train"],
            "gflops": passes * once_through / took[what],
            "share": passes * once_through / took[what] / product,
            "product_gflops": product,
        }
        for what, passes in work.items()
    ]
