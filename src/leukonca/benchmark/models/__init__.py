"""The models that the benchmark knows: one file and one line here each."""

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType

from leukonca.benchmark.models.runner import Runner as Runner
from leukonca.errors import UsageError

_PLACES: Mapping[str, str] = MappingProxyType(
    {
        "nca": "leukonca.benchmark.models.nca:NCA",
        "resnext": "leukonca.benchmark.models.resnext:ResNeXt",
        "aecfe": "leukonca.benchmark.models.aecfe:AECFE",
    }
)
"""Name on the command line -> ``module:class`` of its runner, imported when it is needed."""

MODELS: tuple[str, ...] = tuple(_PLACES)
"""Their names, in the order of the paper's table."""

SIZES = ("paper", "compact", "tiny")
"""`paper`: as published. `compact`: for processors. `tiny`: for tests."""


def find_runner(name: str) -> Runner:
    """The runner of a model.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in _PLACES:
        raise UsageError(f"model {name!r}: there are {', '.join(MODELS)}")
    module, _, cls = _PLACES[name].partition(":")
    runner: Runner = getattr(import_module(module), cls)()
    return runner
