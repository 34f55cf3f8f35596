"""Several runs of one image: what can be asked for."""

import numpy as np

from leukonca.automaton.fire import check_seeds
from leukonca.data.varied import VIEWS
from leukonca.errors import UsageError


def check_runs(runs: int, *, varied: bool, seed: int, at_random: bool = True) -> None:
    """Raise a `UsageError` for runs that cannot be made, or that would repeat each other.

    Args:
        runs: how many.
        varied: whether each sees the image otherwise (`leukonca.data.varied`).
        seed: of the first run.
        at_random: whether the model fires at random, so that another seed is another answer.
    """
    if isinstance(runs, bool) or not isinstance(runs, int | np.integer) or runs < 1:
        raise UsageError(f"runs {runs!r}: must be a whole number of at least 1")
    check_seeds([seed, seed + runs - 1], 2)
    if varied and runs == 1:
        raise UsageError("varied: a single run sees the image as it is; ask for 2 runs or more")
    if at_random:
        return
    if runs > 1 and not varied:
        raise UsageError(f"runs {runs}: nothing fires at random here, so all runs would be the same; ask for 1")
    if runs > VIEWS:
        raise UsageError(f"runs {runs}: nothing fires at random here, and there are {VIEWS} views; ask for no more")
