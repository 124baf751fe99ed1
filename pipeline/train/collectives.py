"""How ranks agree: what one of them knows, all act on, or the others would wait for it for ever; and how one goes first."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import TypeVar

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import _get_default_store

from pipeline.train.distributed import PATIENCE

_TURNS = count()
"""Numbers the calls of `rank_0_first`, alike on all ranks: the store forgets nothing."""

Value = TypeVar("Value")


def sum_over_ranks(tensor: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor over ranks; the tensor itself stays as it is. Every rank must call it, with as many elements."""
    if dist.get_world_size() == 1 or not tensor.numel():
        return tensor
    total = tensor.clone()
    dist.all_reduce(total)
    return total


def max_over_ranks(number: int) -> int:
    """The greatest of the ranks' numbers. Every rank must call it."""
    tensor = torch.tensor(number, device=_device())
    if dist.get_world_size() > 1:
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return int(tensor)


def on_any_rank(flag: bool) -> bool:
    """Whether the flag is set on any rank. Every rank must call it."""
    return bool(max_over_ranks(int(flag)))


def as_on_rank_0(number: int) -> int:
    """Rank 0's number. Every rank must call it."""
    tensor = torch.tensor(number, device=_device())
    if dist.get_world_size() > 1:
        dist.broadcast(tensor, src=0)
    return int(tensor)


@contextmanager
def rank_0_first() -> Iterator[None]:
    """Rank 0 runs the block while the others wait, then they do: what it makes, they find. Every rank must call it.

    They meet at the store: a collective would need another group, and NCCL's own gives up after ten minutes.
    """
    is_first, store, key = dist.get_rank() == 0, _get_default_store(), f"rank 0 first/{next(_TURNS)}"
    if not is_first:
        store.wait([key], PATIENCE)
    yield
    if is_first:
        store.set(key, "done")


def of_all_ranks(values: Sequence[Value]) -> list[Value]:
    """The values of all ranks, rank after rank. Every rank must call it."""
    if dist.get_world_size() == 1:
        return list(values)
    gathered: list[Sequence[Value]] = [()] * dist.get_world_size()
    dist.all_gather_object(gathered, values)
    return [value for part in gathered for value in part]


def _device() -> str:
    """Where the process group's collectives take their tensors."""
    return "cuda" if dist.get_backend() == "nccl" else "cpu"
