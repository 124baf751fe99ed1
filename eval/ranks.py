"""An evaluation command as one process or several: each looks at a share, all measure together, the first writes and speaks."""

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.measurement import Failures, Measurement, ResultFolder, measure_missing
from eval.model_protocol import silent
from eval.subject import Subject, show_progress
from pipeline.encode.ranks import Ranks
from pipeline.tracking import PARENT_RUN_TAG, start_run
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a command said, for the tracker: figures by name, and the files that it wrote."""

    metrics: Mapping[str, float]
    files: Sequence[Path]


def measure_together(
    chosen: Subject, wanted: Sequence[Measurement], out: Path, ranks: Ranks, tell: Callable[[ResultFolder, str], Told | None]
) -> None:
    """Measure what is not known yet, by all ranks; then the first tells what is known, of a folder and a model's fingerprint.

    What was measured now of a run's model is noted in a run of its own, below that of the model.
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
    made = measure_missing(model, wanted, folder, failures, progress)
    if ranks.is_first:
        told = tell(folder, model.fingerprint)
        if told is not None and made and chosen.run_id:
            _note(chosen, told)
    ranks.leave()
    if ranks.is_first:
        failures.raise_any()


def _note(chosen: Subject, told: Told) -> None:
    """A run of the tracker, with figures and files."""
    tags = {PARENT_RUN_TAG: chosen.run_id}
    parents = {"train": chosen.run_id}
    with start_run(uri=chosen.tracking, stage="eval", parents=parents, tags=tags, keep=chosen.unsent) as tracker:
        tracker.log_params({"dtype": chosen.dtype or "by the machine", "model": str(chosen.folder)})
        tracker.log_metrics(told.metrics)
        for file in told.files:
            tracker.log_artifact(file)
