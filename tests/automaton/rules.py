"""Rules to test engines with."""

import numpy as np

from leukonca.automaton.rule import Rule


def random_rule(channels: int, hidden: int, seed: int = 0, size: float = 0.2) -> Rule:
    rng = np.random.default_rng(seed)
    shapes = (2, channels, 3, 3), (2, channels), (hidden, 3 * channels), (hidden,), (channels, hidden)
    return Rule(*(rng.normal(scale=size, size=shape).astype(np.float32) for shape in shapes))
