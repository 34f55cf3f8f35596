"""Several runs of one image: what can be asked for."""

import numpy as np

from leukonca.automaton.fire import check_seeds
from leukonca.data.turns import WAYS
from leukonca.errors import UsageError


def check_runs(runs: int, *, turned: bool, seed: int, at_random: bool = True) -> None:
    """Raise a `UsageError` for runs that cannot be made, or that would repeat each other.

    Args:
        runs: how many.
        turned: whether each sees the image in another of the eight ways to turn and mirror it.
        seed: of the first run.
        at_random: whether the model fires at random, so that another seed is another answer.
    """
    if isinstance(runs, bool) or not isinstance(runs, int | np.integer) or runs < 1:
        raise UsageError(f"runs {runs!r}: must be a whole number of at least 1")
    check_seeds([seed, seed + runs - 1], 2)
    if turned and runs == 1:
        raise UsageError(
            "turned: a single run sees the image as it is; ask for 2 runs or more, 8 for every way to turn"
        )
    if at_random:
        return
    if runs > 1 and not turned:
        raise UsageError(f"runs {runs}: nothing fires at random here, so all runs would be the same; ask for 1")
    if runs > WAYS:
        raise UsageError(
            f"runs {runs}: nothing fires at random here, and there are {WAYS} ways to turn; ask for no more"
        )
