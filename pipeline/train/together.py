"""How ranks agree on a number: what one of them knows, all act on, or the others would wait for it for ever."""

import torch
import torch.distributed as dist


def on_any_rank(flag: bool) -> bool:
    """Whether the flag is set on any rank. Every rank must call it."""
    tensor = torch.tensor(int(flag), device=_device())
    if dist.get_world_size() > 1:
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return bool(tensor)


def as_on_rank_0(number: int) -> int:
    """Rank 0's number. Every rank must call it."""
    tensor = torch.tensor(number, device=_device())
    if dist.get_world_size() > 1:
        dist.broadcast(tensor, src=0)
    return int(tensor)


def _device() -> str:
    """Where the process group's collectives take their tensors."""
    return "cuda" if dist.get_backend() == "nccl" else "cpu"
