"""How often each kind of cell is expected: a model's answers for other shares of the classes than it was trained on."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from leukonca.errors import ModelError, UsageError
from leukonca.models.config import ModelConfig
from leukonca.taxonomy import COARSE_CLASSES

LEAST = 0.005
"""No kind is expected less often than this by a prior of `PRIORS`, so that a rare one can still be named."""

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

Shares = Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Prior:
    """What is expected of the tested cells.

    Args:
        name: what it is called in results.
        shares: of the model's classes, float64 [K]; their sum is 1.
    """

    name: str
    shares: NDArray[np.float64]

    @property
    def logits(self) -> NDArray[np.float64]:
        """What it adds to the logits of a model that was trained on balanced classes, [K]; -inf for a share of 0.

        Probabilities of such a model are in proportion to the likelihood of the image in each class. Times the shares,
        and divided by their sum, they are those of cells that are drawn with these shares.

        Source: Saerens, Latinne and Decaestecker 2002, doi 10.1162/089976602753284446, eq. 2.4.
        """
        with np.errstate(divide="ignore"):
            logarithms: NDArray[np.float64] = np.log(self.shares)
        return logarithms


def find_prior(asked: str | Path | Shares | None, config: ModelConfig) -> Prior | None:
    """The prior of a model's classes.

    Args:
        asked: a name in `PRIORS`, a TOML file with a line ``class = share`` for each class that may be answered, or
            such shares themselves; they need not sum to 1. None: none.
        config: of the model.

    Raises:
        UsageError: there is no such name or file, or it holds no shares of the model's classes.
        ModelError: the model was not trained on balanced classes, so that its answers hold a prior of its own.
    """
    if asked is None:
        return None
    if config.recipe.get("balance") is not True:
        raise ModelError(
            "prior: the model does not say that it was trained on balanced classes (recipe: balance), so how often it "
            "expects each is not known; leave the prior out"
        )
    if isinstance(asked, Mapping):
        return _of_shares("own", asked, config)
    if str(asked) in PRIORS:
        return _named(str(asked), config)
    return _of_shares(Path(asked).name, _read(Path(asked)), config)


def _named(name: str, config: ModelConfig) -> Prior:
    """Of classes that comprise several kinds, these together; none below `LEAST`."""
    stated = {**COARSE_CLASSES, **config.data.get("comprises", {})}
    known = PRIORS[name]
    shares = np.array([sum(known.get(kind, 0.0) for kind in stated.get(each, (each,))) for each in config.classes])
    if not shares.any():
        raise UsageError(f"prior {name}: knows none of the model's classes ({', '.join(config.classes)})")
    shares = np.maximum(shares, LEAST)
    return Prior(name, shares / shares.sum())


def _of_shares(name: str, given: Shares, config: ModelConfig) -> Prior:
    if unknown := [each for each in given if each not in config.classes]:
        raise UsageError(
            f"prior {name}: {', '.join(map(str, unknown))}: no class of the model; it has {', '.join(config.classes)}"
        )
    for each, share in given.items():
        number = isinstance(share, int | float | np.number) and not isinstance(share, bool)
        if not (number and math.isfinite(share) and share >= 0):
            raise UsageError(f"prior {name}: {each} is {share!r}; must be a number that is not negative")
    shares = np.array([float(given.get(each, 0.0)) for each in config.classes])
    if not shares.any():
        raise UsageError(f"prior {name}: no class has a share; give a line such as monocyte = 0.04 for each")
    return Prior(name, shares / shares.sum())


def _read(path: Path) -> Shares:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(
            f"prior {path}: no such file; give {', '.join(PRIORS)}, or a TOML file with a line such as monocyte = 0.04 "
            "for each class"
        ) from error
    except (OSError, ValueError) as error:
        raise UsageError(f"prior {path}: cannot be read as TOML ({error})") from error
