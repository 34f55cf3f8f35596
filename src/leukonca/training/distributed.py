"""Several processes train one model: each takes its share of every batch, and what they found is added up.

``torchrun`` starts the processes and tells each its rank through the environment. Draws, views and fire masks follow
from the seed alone, so every process makes the same plan, and an automaton's weights differ from those of a single
process by rounding only. A network with batch normalisation is normalised with what each process sees of a batch, so
that its weights depend on how many there are. Rank 0 writes and shows; the others work.
"""

import atexit
import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from leukonca.errors import LeukoncaError, UsageError


@dataclass(frozen=True)
class Ranks:
    """The processes of a training, as one of them sees them.

    Args:
        rank: of this process, counted from 0.
        count: of all processes.
        device: of this process.
    """

    rank: int = 0
    count: int = 1
    device: str = "cpu"

    @property
    def first(self) -> bool:
        """Whether this process writes the files and shows the progress."""
        return self.rank == 0

    def share(self, size: int) -> tuple[slice, float]:
        """Which part of a batch is this rank's, and its share of the batch's mean loss.

        A batch may be smaller than the number of ranks: who is left without takes the first item and counts it zero
        times, because every rank must come to the sums below.
        """
        low, high = size * self.rank // self.count, size * (self.rank + 1) // self.count
        return (slice(low, high), (high - low) / size) if high > low else (slice(0, 1), 0.0)

    def check(self, model: nn.Module, batch_size: int) -> None:
        """Raise a `UsageError` where batch normalisation would see a single image in some process."""
        if self.count > 1 and batch_size < 2 * self.count and any(True for _ in model.buffers()):
            raise UsageError(
                f"batch_size {batch_size} in {self.count} processes: a network with batch normalisation needs two "
                f"images in each; take at least {2 * self.count}, or fewer processes"
            )

    def sums(self, *values: float) -> list[float]:
        """Every value, summed over the ranks; the same bits on all of them."""
        if self.count == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        _reduce(total)
        return total.tolist()

    def add_gradients(self, model: nn.Module) -> None:
        """Sum the gradients over the ranks, in place, and average the buffers (running statistics)."""
        if self.count == 1:
            return
        gradients = [value.grad for value in model.parameters() if value.grad is not None]
        buffers = [value for value in model.buffers() if value.is_floating_point()]
        _reduce_all([*gradients, *buffers])
        for buffer in buffers:
            buffer.div_(self.count)

    def agree(self, what: str, *numbers: int) -> None:
        """Wait for all ranks, and make sure that they are about the same thing.

        Raises:
            UsageError: the ranks hold different numbers.
        """
        if self.count == 1:
            return
        both = torch.tensor([*numbers, *(-number for number in numbers)], dtype=torch.int64, device=self.device)
        _reduce(both, highest=True)
        highest, lowest = both.view(2, -1)
        if not torch.equal(highest, -lowest):
            raise UsageError(f"the processes of this run do not see the same {what}: start them on one shared folder")


def is_first() -> bool:
    """Whether this process is alone or has rank 0; known before any library is loaded or any process is met."""
    return not _launched() or os.environ["RANK"] == "0"


def join(device: str) -> Ranks:
    """Meet the other processes that ``torchrun`` started, once; alone if it did not.

    Args:
        device: ``cuda`` becomes this process's own graphics card.

    Raises:
        UsageError: they cannot be met, or there is no such device.
    """
    if not _launched():
        return Ranks(device=device)
    try:
        kind = torch.device(device)
        if kind.type == "cuda":
            kind = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}") if device == "cuda" else kind
            torch.cuda.set_device(kind)
    except (RuntimeError, AttributeError, AssertionError) as error:  # the second: a torch without CUDA
        raise no_device(device, error) from error
    if not distributed.is_initialized():
        try:
            distributed.init_process_group("nccl" if kind.type == "cuda" else "gloo")
        except (RuntimeError, ValueError) as error:
            raise UsageError(f"the processes of this run do not meet ({error}); start them with torchrun") from error
        atexit.register(distributed.destroy_process_group)
    return Ranks(distributed.get_rank(), distributed.get_world_size(), str(kind))


def no_device(device: str, error: Exception) -> UsageError:
    """The error of a device that is not there."""
    return UsageError(f"device {device!r} cannot be used here ({str(error).splitlines()[0]}); use --device cpu")


def _launched() -> bool:
    return os.environ.get("WORLD_SIZE", "1") != "1" and "RANK" in os.environ and "MASTER_ADDR" in os.environ


def _reduce(tensor: Tensor, *, highest: bool = False) -> None:
    try:
        distributed.all_reduce(tensor, distributed.ReduceOp.MAX if highest else distributed.ReduceOp.SUM)
    except RuntimeError as error:
        raise LeukoncaError("another process of this run has ended; its own message says why") from error


def _reduce_all(tensors: Sequence[Tensor]) -> None:
    """Sum tensors over the ranks in one exchange."""
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    _reduce(flat)
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    for tensor, total in zip(tensors, parts, strict=True):
        tensor.copy_(total.view_as(tensor))
