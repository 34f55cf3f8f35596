"""One rollout, several engines with equal results; an engine is picked by name, or by device."""

from collections.abc import Callable
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
    """Images [B, 3, H, W] in, last states [B, C, H, W] out ([steps, B, C, H, W] if `record`)."""

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


ENGINES: MappingProxyType[str, Callable[..., Tensor]] = MappingProxyType(
    {"reference": reference.rollout, "cpu": cpu_rollout, "torch": torch_engine.rollout}
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
    return "cpu" if _fits_cpu(device, dtype) else "torch"


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
    return ENGINES[name](images, *rule, **settings)


def _fits_cpu(device: torch.device, dtype: torch.dtype) -> bool:
    return device.type == "cpu" and dtype == torch.float32
