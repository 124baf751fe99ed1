"""An evaluation command as several processes of this machine."""

import os
import sys

from pipeline.train.local_ranks import run_ranks

_HINT = b"\nstopping; the same command goes on from here\n"


def is_rank() -> bool:
    """Whether this process is one of several: of ours, of torchrun's or of Slurm's."""
    return "RANK" in os.environ


def run_again(module: str, processes: int) -> int:
    """Run this very command line as so many ranks; the exit code of the first that failed, 1 for one that was killed, else 0."""
    codes = run_ranks([sys.executable, "-m", module, *sys.argv[1:]], processes=processes, hint=_HINT)
    return next((code if code > 0 else 1 for code in codes if code), 0)
