"""`python -m jobs.doctor.meeting`, one task a node under srun: whether the nodes reach one another, and by what NCCL would go.

Each task joins the others as the ranks of a training do, then all add up a tensor. Rank 0 prints what every node took.
"""

import os
import socket
import sys
import time
from datetime import timedelta

import torch
import torch.distributed as dist

ELEMENTS = 1 << 24
"""Float32 elements that are added up: 64 MiB, enough to leave latency behind."""

PATIENCE = timedelta(seconds=60)


def main() -> None:
    """Meet, add up once to connect and once to measure, and print a line on rank 0."""
    rank, num_ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    has_gpu = torch.cuda.is_available()
    dist.init_process_group("nccl" if has_gpu else "gloo", rank=rank, world_size=num_ranks, timeout=PATIENCE)
    values = torch.ones(ELEMENTS, device="cuda" if has_gpu else "cpu")
    dist.all_reduce(values)
    begun = time.monotonic()
    dist.all_reduce(values)
    total = float(values[-1])
    seconds = time.monotonic() - begun
    names: list[tuple[str, float]] = [("", 0.0)] * num_ranks
    dist.all_gather_object(names, (socket.gethostname(), seconds))
    if rank == 0:
        slowest = max(names, key=lambda item: item[1])
        assert total == num_ranks**2, "each sum multiplies by the number of ranks"
        said = f"{num_ranks} nodes over {dist.get_backend()}: 64 MiB added up in {slowest[1]:.3f} s, slowest {slowest[0]}"
        sys.stdout.write(f"{said}\n")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
