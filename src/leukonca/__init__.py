"""leukonca: white blood cells classified by a neural cellular automaton of under 100 thousand parameters.

The names below are imported on first use, so that ``import leukonca`` stays fast and prediction needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from leukonca.errors import DataError, LeukoncaError, ModelError, UsageError
from leukonca.taxonomy import CLASSES

if TYPE_CHECKING:
    from leukonca.automaton.fire import fire_mask
    from leukonca.deploy.predictor import Predictor
    from leukonca.explain.explainer import Explainer, explain_cell
    from leukonca.explain.explanation import Explanation
    from leukonca.models.building import load
    from leukonca.models.nca import NCAClassifier
    from leukonca.models.resnext import import_resnext
    from leukonca.models.wbc_nca import import_wbc_nca

__version__ = "0.1.0"

_LAZY = {
    "Explainer": "leukonca.explain.explainer",
    "Explanation": "leukonca.explain.explanation",
    "NCAClassifier": "leukonca.models.nca",
    "Predictor": "leukonca.deploy.predictor",
    "explain_cell": "leukonca.explain.explainer",
    "fire_mask": "leukonca.automaton.fire",
    "import_resnext": "leukonca.models.resnext",
    "import_wbc_nca": "leukonca.models.wbc_nca",
    "load": "leukonca.models.building",
}

__all__ = [
    "CLASSES",
    "DataError",
    "Explainer",
    "Explanation",
    "LeukoncaError",
    "ModelError",
    "NCAClassifier",
    "Predictor",
    "UsageError",
    "explain_cell",
    "fire_mask",
    "import_resnext",
    "import_wbc_nca",
    "load",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'leukonca' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
