"""All that a run needs to go on, in one safetensors file that is written whole."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from leukonca.errors import ModelError
from leukonca.files import whole_file

NAME = "checkpoint.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after an epoch.

    Args:
        tensors: weights (``model.``), running average (``average.``) and optimiser moments (``optimiser.``).
        epochs_done: finished epochs.
        steps_done: optimiser steps.
        history: one record an epoch, as in ``log.jsonl``.
        run: fingerprint of recipe, data and split; a run goes on only with the same.
    """

    tensors: dict[str, Tensor]
    epochs_done: int
    steps_done: int
    history: tuple[dict[str, Any], ...]
    run: str


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace the folder's checkpoint; the last one stays until the new one is complete."""
    facts = {
        "epochs_done": checkpoint.epochs_done,
        "steps_done": checkpoint.steps_done,
        "history": checkpoint.history,
        "run": checkpoint.run,
    }
    data = save(checkpoint.tensors, metadata={"leukonca": json.dumps(facts)})
    with whole_file(folder / NAME) as path:
        path.write_bytes(data)


def read_checkpoint(folder: Path) -> Checkpoint | None:
    """The folder's checkpoint; None if there is none.

    Raises:
        ModelError: it is damaged.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()["leukonca"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
        return Checkpoint(
            tensors=tensors,
            epochs_done=facts["epochs_done"],
            steps_done=facts["steps_done"],
            history=tuple(facts["history"]),
            run=facts["run"],
        )
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        finished = (folder / "config.json").exists()
        remedy = "choose another --out" if finished else "delete it to start the run anew"
        raise ModelError(f"{path}: damaged ({error}); {remedy}") from error


def gather(model: torch.nn.Module, average: dict[str, Tensor], *optimisers: torch.optim.Optimizer) -> dict[str, Tensor]:
    """All tensors of a run by name, each with memory of its own; the optimisers' parameters are counted through."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.items()}
    for first, optimiser in _numbered(optimisers):
        for index, moments in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{first + index}.{name}": value for name, value in moments.items()}
    return {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}


def restore(
    tensors: dict[str, Tensor], model: torch.nn.Module, average: dict[str, Tensor], *optimisers: torch.optim.Optimizer
) -> None:
    """Put tensors that `gather` gave back where they came from, in place."""
    model.load_state_dict(_part(tensors, "model."))
    for name, value in _part(tensors, "average.").items():
        average[name].copy_(value)  # stays on its device
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in _part(tensors, "optimiser.").items():
        index, key = name.split(".")
        moments.setdefault(int(index), {})[key] = value
    for first, optimiser in _numbered(optimisers):
        own = range(first, first + _count(optimiser))
        state = {index - first: values for index, values in moments.items() if index in own}
        optimiser.load_state_dict({**optimiser.state_dict(), "state": state})


def _numbered(optimisers: Sequence[torch.optim.Optimizer]) -> list[tuple[int, torch.optim.Optimizer]]:
    """Each optimiser with the number of its first parameter."""
    firsts = accumulate((_count(optimiser) for optimiser in optimisers), initial=0)
    return list(zip(firsts, optimisers, strict=False))  # the last number is that of all parameters


def _count(optimiser: torch.optim.Optimizer) -> int:
    return sum(len(group["params"]) for group in optimiser.param_groups)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
