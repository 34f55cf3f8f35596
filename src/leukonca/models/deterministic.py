"""A model without chance: every cell fires, and changes by what random firing would change it on average."""

from dataclasses import replace

import numpy as np

from leukonca.errors import ModelError
from leukonca.models.config import ModelConfig
from leukonca.models.folder import Weights
from leukonca.models.presets import Architecture


def as_deterministic(config: ModelConfig, weights: Weights) -> tuple[ModelConfig, Weights]:
    """The same automaton with fire rate 1 and its update times the fire rate; the seed has no effect on it.

    One step's expected state is that of random firing. Over many steps it is an approximation, since the rule is not
    linear. A run computes every cell, so at fire rate r it costs as much as 1 / r random runs. Its features are not
    spread as those of random runs, which a score of unusual cells was fitted to: the config has no threshold for it.

    Args:
        config: of an automaton; others fire at no random.
        weights: its arrays by name; not changed.

    Raises:
        ModelError: it is another kind of model.

    Source: the weight scaling of dropout, Srivastava et al. 2014 (JMLR 15:1929), section 7.5.
    """
    a = config.architecture
    if not isinstance(a, Architecture):
        raise ModelError(f"{a.title}: nothing in it fires at random; predict with it as it is")
    scaled = weights["update_weight"] * np.float32(a.fire_rate)
    thresholds, calibration = (
        {name: value for name, value in each.items() if name != "unusual"}
        for each in (config.thresholds, config.calibration)
    )
    changed = replace(config, architecture=replace(a, fire_rate=1.0), thresholds=thresholds, calibration=calibration)
    return changed, {**weights, "update_weight": scaled}
