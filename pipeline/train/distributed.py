"""The ranks of a run: how they meet."""

import atexit
import os
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from pipeline.errors import PipelineError

PATIENCE = timedelta(hours=6)
"""How long ranks wait for what rank 0 does alone."""

JOINING = timedelta(minutes=30)
"""How long ranks wait for one another at the start: the nodes of a cluster do not start together."""


def own_rank() -> int:
    """The number that the environment gives this process; 0 for a lone one."""
    return int(os.environ.get("RANK", "0"))


def start_process_group() -> tuple[int, int]:
    """Join the process group that the environment describes (torchrun or Slurm); a lone process makes its own without a port.

    Returns (rank, number of ranks). Raises PipelineError when other ranks do not come.
    """
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if not dist.is_initialized():
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        if "RANK" in os.environ:
            store, rank, num_ranks = meet()
            # A hung rank is found by pipeline.train.fault_tolerance.watchdog, which says more than a timeout of the backend.
            dist.init_process_group(backend, store=store, rank=rank, world_size=num_ranks, timeout=PATIENCE)
        else:
            os.environ["LOCAL_RANK"] = "0"
            dist.init_process_group(backend, store=torch._C._distributed_c10d.HashStore(), rank=0, world_size=1)
            atexit.register(_leave)  # NCCL complains of a group that is left as it is; of several ranks one may wait for another
    return dist.get_rank(), dist.get_world_size()


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def meet() -> tuple[Any, int, int]:
    """The `Store` of all ranks, this one's number and theirs. Raises PipelineError when not all have come in time."""
    try:
        store, rank, num_ranks = next(iter(rendezvous("env://", timeout=JOINING)))
    except dist.DistError as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise PipelineError(
            f"rank {own_rank()}: not all of {os.environ['WORLD_SIZE']} ranks met at {where} within "
            f"{JOINING.total_seconds():.0f} s ({str(error).splitlines()[0]}); look at why the others did not start"
        ) from error
    store.set_timeout(PATIENCE)
    return store, rank, num_ranks
