"""Which of several training processes this one is, and how they agree before they start.

torchrun and the Slurm script set RANK and WORLD_SIZE; a lone process has neither.
"""

import contextlib
import logging
import os
import sys
from typing import NoReturn

from pipeline.errors import PipelineError


def rank() -> int:
    """This process's number; 0 is the one that writes."""
    return int(os.environ.get("RANK", "0"))


def num_ranks() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def agree(choice: int) -> int:
    """Rank 0's number, on every rank; whoever calls waits for the others. A lone process keeps its own."""
    if num_ranks() == 1:
        return choice
    # Brings torch in, which a command's help must not wait for.
    from pipeline.train.collectives import as_on_rank_0
    from pipeline.train.distributed import start_process_group

    start_process_group()
    return as_on_rank_0(choice)


def leave() -> None:
    """Leave the group of ranks, once all have finished."""
    if num_ranks() > 1:
        import torch.distributed as dist

        if dist.is_initialized():
            dist.destroy_process_group()


def end(code: int) -> NoReturn:
    """End the process. One of several ranks ends without the interpreter's clean-up.

    Threads of a process group live on after it was left, as long as anything refers to it; one that drops its last tensor while
    the interpreter goes down aborts the process, and a training that is done would count as failed.
    """
    if num_ranks() == 1:
        sys.exit(code)
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # whoever read it has gone
            stream.flush()
    os._exit(code)


TOGETHER = ("train", "mine")
"""Stages that several processes work on together."""


def refuse_ranks(stage: str) -> None:
    """Raise PipelineError when a stage that one process does alone was started as several."""
    if num_ranks() > 1 and stage not in TOGETHER:
        named = " and ".join(f"crem {name}" for name in TOGETHER)
        raise PipelineError(f"crem {stage}: started as {num_ranks()} processes, but only {named} work in parallel")
