"""Sums and samples over the processes of a distributed training; in a single process, over itself.

The processes hold parts of one batch and average their gradients (as torch's DistributedDataParallel
does). With these functions a loss, its gradient and the codebook come out as if one process held it all.
"""

from typing import Any, cast

import torch
from accelerate import PartialState
from torch import Tensor, distributed


def device() -> torch.device:
    """Where this process computes: its GPU, or the CPU where there is none; joins the process group."""
    place: torch.device = PartialState(**({} if torch.cuda.is_available() else {"cpu": True})).device
    return place


def sent(tensor: Tensor, place: torch.device) -> Tensor:
    """On a device; from main memory to a GPU without a wait for what it still computes."""
    if place.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(place, non_blocking=True)
    return tensor.to(place)


def count() -> int:
    """Number of processes."""
    return distributed.get_world_size() if _running() else 1


def first() -> bool:
    """Whether this process is the first, which writes files."""
    return not _running() or distributed.get_rank() == 0


def own_rows(rows: Tensor) -> Tensor:
    """This process's share of rows that every process knows; as many as another's, or one more."""
    return rows.tensor_split(count())[distributed.get_rank()] if _running() else rows


@torch.no_grad()
def total(values: Tensor) -> Tensor:
    """Sum over the processes, without a gradient, of the same shape."""
    if not _running():
        return values
    summed = values.clone()
    distributed.all_reduce(summed)
    return summed


def sum_over_processes(values: Tensor) -> Tensor:
    """Sum over the processes, with a gradient.

    Every process's loss may read the sum in its own way, so the gradient is summed over them, too; averaging
    the gradients of the weights over the processes divides it by their number.

    Args:
        values: This process's part, any shape.

    Returns:
        The sum, of the same shape.

    Source: ours.
    """
    return cast(Tensor, _Sum.apply(values)) if _running() else values


class _Sum(torch.autograd.Function):
    """The sum, whose gradient is the sum of the gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return total(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return total(gradient.contiguous())


def mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the masked-in entries of the whole batch.

    Args:
        values: This process's part, any shape.
        mask: True where an entry counts, of the same shape.

    Returns:
        `[]`; 0 where no entry counts. The average over the processes is the mean over the whole batch.

    Source: ours.
    """
    share = total(mask.sum()) / count()
    return values.masked_fill(~mask, 0).sum() / share.clamp(min=1 / count())


@torch.no_grad()
def gather(rows: Tensor) -> Tensor:
    """Rows of all processes, in their order, `[n, ...]` to `[processes * n, ...]`."""
    if not _running():
        return rows
    parts = [torch.empty_like(rows) for _ in range(count())]
    distributed.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


def least(number: int) -> int:
    """The smallest number that a process has."""
    return int(gather(torch.tensor([number], device=device())).min()) if _running() else number


@torch.no_grad()
def same_everywhere(values: Tensor) -> Tensor:
    """What the first process holds."""
    if _running():
        distributed.broadcast(values, src=0)
    return values


def _running() -> bool:
    return distributed.is_available() and distributed.is_initialized()
