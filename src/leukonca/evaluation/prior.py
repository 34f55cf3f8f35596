"""How often each kind of cell is expected: a model's answers for other shares of the classes than it was trained on."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukonca.errors import ModelError, UsageError
from leukonca.models.config import ModelConfig
from leukonca.taxonomy import CLASSES, COARSE_CLASSES

LEAST = 0.005
"""What a prior of `PRIORS` sets for every kind that it knows as rarer, so that such a cell can still be named."""

PRIORS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "blood": MappingProxyType(
            {
                "neutrophil_segmented": 0.56,
                "lymphocyte_typical": 0.34,
                "monocyte": 0.04,
                "neutrophil_banded": 0.03,
                "eosinophil": 0.027,
                "basophil": 0.003,
            }
        )
    }
)
"""`blood`: mean shares of the leukocytes in the blood of healthy adults. Source: Henry's Clinical Diagnosis and
Management by Laboratory Methods, 22nd edition (2011), as Labcorp's page "WBC differential" gives them; bands: what the
others leave."""

TINY = 1e-30
"""Probabilities are taken to be at least this, so that some class that is expected is left."""

_LINE = "a line such as monocyte = 0.04 for each class"

Shares = Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Prior:
    """What is expected of the tested cells.

    Args:
        name: what it is called in results.
        shares: of the model's classes, float64 [K]; their sum is 1.
        classes: the model's, [K].
    """

    name: str
    shares: NDArray[np.float64]
    classes: tuple[str, ...]

    def weigh(self, probabilities: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Probabilities for cells that are drawn with these shares, by Bayes' rule.

        Probabilities p of a model that was trained on balanced classes are in proportion to the likelihood of the image
        in each class; so those for shares s are p_k s_k divided by their sum.

        Args:
            probabilities: of the model's classes, [..., K]; of several runs their mean, which is what is calibrated.

        Returns:
            The new ones, [..., K], and the sums, [...]: how likely each image is under these shares, but for a factor
            that is the same for all of them.

        Source: Saerens, Latinne and Decaestecker 2002, doi 10.1162/089976602753284446, eq. 2.4.
        """
        weighed = np.maximum(np.asarray(probabilities, np.float64), TINY) * self.shares
        sums = weighed.sum(axis=-1)
        return weighed / sums[..., None], sums


def find_prior(asked: str | Path | Shares | Prior | None, config: ModelConfig) -> Prior | None:
    """The prior of a model's classes.

    Args:
        asked: a name in `PRIORS`, a TOML file with a line ``class = share`` for each class that may be answered, or
            such shares themselves; they need not sum to 1. A prior that was found already. None: none.
        config: of the model.

    Raises:
        UsageError: there is no such name or file, or it holds no shares of classes that the model was trained on.
        ModelError: the model's probabilities are no likelihoods times a constant.
    """
    if asked is None:
        return None
    recipe = config.recipe
    if recipe.get("balance") is not True or recipe.get("loss") != "cross_entropy":
        raise ModelError(
            f"prior: needs a model that was trained on balanced classes with cross-entropy; this one's recipe has "
            f"balance {recipe.get('balance', 'unknown')}, loss {recipe.get('loss', 'unknown')}; leave the prior out"
        )
    if isinstance(asked, Prior):
        if asked.classes != config.classes:
            raise UsageError(f"prior {asked.name}: is of the classes {', '.join(asked.classes)}, not of this model's")
        return asked
    if isinstance(asked, Mapping):
        return _of_shares("own", asked, config)
    if str(asked) in PRIORS:
        return _named(str(asked), config)
    path = Path(asked).expanduser()
    return _of_shares(path.name, _read(path), config)


def _named(name: str, config: ModelConfig) -> Prior:
    """Of a class that comprises several kinds, these together; of a class that was never trained, nothing."""
    stated = {**COARSE_CLASSES, **config.data.get("comprises", {})}
    kinds = {kind: max(PRIORS[name].get(kind, 0.0), LEAST) for kind in CLASSES}
    shares = np.array(
        [
            sum(kinds.get(kind, 0.0) for kind in stated.get(each, (each,))) if _is_trained(each, config) else 0.0
            for each in config.classes
        ]
    )
    if not shares.any():
        raise UsageError(f"prior {name}: knows none of the model's classes ({', '.join(config.classes)})")
    return Prior(name, shares / shares.sum(), config.classes)


def _of_shares(name: str, given: Mapping[str, Any], config: ModelConfig) -> Prior:
    trained = [each for each in config.classes if _is_trained(each, config)]
    if unknown := [each for each in given if each not in trained]:
        raise UsageError(
            f"prior {name}: {', '.join(map(str, unknown))}: no class that the model was trained on, so leave it out; "
            f"these are {', '.join(trained)}"
        )
    shares = np.array([_share(name, each, given.get(each, 0.0)) for each in config.classes])
    if not shares.any():
        raise UsageError(f"prior {name}: no class has a share; give {_LINE}")
    shares /= shares.max()
    return Prior(name, shares / shares.sum(), config.classes)


def _share(name: str, of: str, value: Any) -> float:
    try:
        share = math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, OverflowError):
        share = math.nan
    if not (math.isfinite(share) and share >= 0):
        raise UsageError(f"prior {name}: {of} is {value!r:.40}; must be a finite number of at least 0")
    return share


def _is_trained(name: str, config: ModelConfig) -> bool:
    return not config.trained_classes or name in config.trained_classes


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise UsageError(
            f"prior {path}: no such file; give {', '.join(PRIORS)}, or a TOML file with {_LINE}"
        ) from error
    except OSError as error:
        raise UsageError(f"prior {path}: cannot be read ({error.strerror}); give a TOML file with {_LINE}") from error
    except ValueError as error:
        raise UsageError(f"prior {path}: no valid TOML in UTF-8 ({error}); write {_LINE}") from error
