"""One rollout, several engines with equal results; an engine is picked by name, or by device."""

import warnings
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leukonca.automaton import reference, torch_engine
from leukonca.automaton.cpu_torch import rollout as cpu_rollout
from leukonca.errors import UsageError

Parameters = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""The five parameters of a `Rule`, in its order."""


class Engine(Protocol):
    """Images [B, K, H, W] in, last states [B, C, H, W] out ([steps, B, C, H, W] if `record`)."""

    def __call__(
        self,
        images: Tensor,
        *rule: Tensor,
        steps: int,
        fire_rate: float,
        seeds: NDArray[np.uint32],
        record: bool,
    ) -> Tensor:
        """Run."""


def _triton_rollout(images: Tensor, *rule: Tensor, **settings: Any) -> Tensor:
    """`triton_engine.rollout`, imported when it is first wanted: triton is an extra, and takes a while."""
    if find_spec("triton") is None:
        raise UsageError(
            "engine 'triton' needs the package triton, which is not installed: pip install 'leukonca[gpu]', or use "
            "engine='auto'"
        )
    from leukonca.automaton import triton_engine

    return triton_engine.rollout(images, *rule, **settings)


ENGINES: MappingProxyType[str, Callable[..., Tensor]] = MappingProxyType(
    {"reference": reference.rollout, "cpu": cpu_rollout, "torch": torch_engine.rollout, "triton": _triton_rollout}
)


def check_engine(name: str) -> str:
    """The name, if there is such an engine.

    Raises:
        UsageError: there is none.
    """
    if name != "auto" and name not in ENGINES:
        raise UsageError(f"engine {name!r}: there are auto, {', '.join(ENGINES)}")
    return name


def chosen(name: str, device: torch.device, dtype: torch.dtype) -> str:
    """The engine itself: `auto` is the fastest that fits the device and dtype; any other name is what it says."""
    if name != "auto":
        return name
    if _fits_cpu(device, dtype):
        return "cpu"
    return "triton" if dtype == torch.float32 and _triton_compiles_for(device) else "torch"


def run(name: str, images: Tensor, rule: Parameters, **settings: Any) -> Tensor:
    """Run the engine of that name (see `chosen`).

    Raises:
        UsageError: the engine cannot work on that device or dtype, or images and parameters differ in them.
    """
    for tensor in rule:
        if tensor.device != images.device or tensor.dtype != images.dtype:
            raise UsageError(
                f"images are {images.dtype} on {images.device}, the model is {tensor.dtype} on {tensor.device}: "
                "move one with .to(...)"
            )
    name = chosen(name, images.device, images.dtype)
    if name == "cpu" and not _fits_cpu(images.device, images.dtype):
        raise UsageError(
            f"engine 'cpu' works on float32 in main memory, not on {images.dtype} on {images.device}: "
            "use engine='auto', or move model and images with .to('cpu', torch.float32)"
        )
    return _traceable(name)(images, *rule, **settings)


_UNTRACED: dict[str, Callable[..., Tensor]] = {}


def _traceable(name: str) -> Callable[..., Tensor]:
    """The engine as `torch.compile` can take it: only torch's own operations are for its tracer to look into."""
    if name == "torch" or not torch.compiler.is_dynamo_compiling():
        return ENGINES[name]
    if name not in _UNTRACED:  # the same function every time, or each call would be compiled anew
        _UNTRACED[name] = torch.compiler.disable(ENGINES[name])  # type: ignore[no-untyped-call]
    return _UNTRACED[name]


def _fits_cpu(device: torch.device, dtype: torch.dtype) -> bool:
    return device.type == "cpu" and dtype == torch.float32


@cache
def _triton_compiles_for(device: torch.device) -> bool:
    """Triton works here, and the card has tensor cores for its products of float32: NVIDIA's Ampere or later."""
    if device.type != "cuda" or torch.version.cuda is None or torch.cuda.get_device_capability(device) < (8, 0):
        return False
    if find_spec("triton") is None:
        return False
    try:
        from leukonca.automaton import triton_engine

        triton_engine.try_out(device)
    except Exception as error:  # whatever its compiler, its driver or the C compiler it calls may raise
        warnings.warn(f"engine 'torch' in place of 'triton', which fails on {device}: {error}", stacklevel=4)
        return False
    return True
