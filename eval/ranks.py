"""An evaluation command as one process or several: each looks at a share, all measure together, the first writes and speaks."""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from eval.measurement import Failures, Measurement, ResultFolder, measure_missing
from eval.model_protocol import silent
from eval.subject import Subject, show_progress
from pipeline.encode.ranks import Ranks
from pipeline.train.local_ranks import run_ranks

logger = logging.getLogger(__name__)

_HINT = b"\nstopping; the same command goes on from here\n"


def is_rank() -> bool:
    """Whether this process is one of several: of ours, of torchrun's or of Slurm's."""
    return "RANK" in os.environ


def run_again(module: str, processes: int) -> int:
    """Run this very command line as so many ranks; the exit code of the first that failed, 1 for one that was killed, else 0."""
    codes = run_ranks([sys.executable, "-m", module, *sys.argv[1:]], processes=processes, hint=_HINT)
    return next((code if code > 0 else 1 for code in codes if code), 0)


def measure_together(
    chosen: Subject, wanted: Sequence[Measurement], out: Path, ranks: Ranks, tell: Callable[[ResultFolder, str], None]
) -> None:
    """Measure what is not known yet, by all ranks; then the first tells what is known, of a folder and a model's fingerprint.

    Every source is looked at before the model is loaded. Raises DataError, on the first rank, where something failed.
    """
    failures, folder = Failures(), ResultFolder(out, is_written=ranks.is_first)
    progress = show_progress if ranks.is_first else silent
    failures.check(wanted[ranks.rank :: ranks.count], progress)
    failures.share(ranks)
    if not ranks.is_first:  # what is met from here on, all meet
        for name in ("eval", "pipeline"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    model = chosen.load()
    if others := folder.of_others(wanted, model.fingerprint):
        what = f"{len(others)} results there, {others[0]} first, are those of another model or number type, and are replaced"
        logger.warning("%s: %s; --out elsewhere keeps both", out, what)
    measure_missing(model, wanted, folder, failures, progress)
    if ranks.is_first:
        tell(folder, model.fingerprint)
    ranks.leave()
    if ranks.is_first:
        failures.raise_any()
