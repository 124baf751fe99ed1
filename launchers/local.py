"""Training on this machine in several processes: what they are called with, and what their ends mean."""

import signal
import sys
import time

from jobs.runner import Outcome, write_recipe
from jobs.stage import PARENT_VARIABLE, Context
from jobs.train import TrainStage
from pipeline.errors import PipelineError, StoppedError
from pipeline.manifest import Manifest
from pipeline.recipes.source import component_files
from pipeline.train.fault_tolerance.signals import STOPPED
from pipeline.train.local_ranks import run_ranks


def train_in_processes(stage: TrainStage, context: Context, *, processes: int) -> Outcome:
    """Run the train stage in several processes and return its outcome.

    The children find their settings on their command line, as a user's own `crem train` would.

    Raises:
        StoppedError: a signal stopped them.
        PipelineError: one of them failed; the others were ended with it.
    """
    before, begun = Manifest.read(stage.folder), time.monotonic()
    part_of = {PARENT_VARIABLE: context.parent_run()}
    codes = run_ranks(train_command(stage, context), processes=processes, variables=part_of)
    if STOPPED in codes:
        raise StoppedError(f"{stage.name}: stopped; the same command goes on from its newest checkpoint")
    manifest = Manifest.read(stage.folder)
    if any(codes) or manifest is None:
        said = ", ".join(f"rank {rank} {_how(code)}" for rank, code in enumerate(codes) if code)
        raise PipelineError(f"{stage.name}: {said or 'no process finished it'}; the first error above says why")
    seconds = time.monotonic() - begun
    return Outcome(stage=stage.name, folder=stage.folder, manifest=manifest, was_done=manifest == before, seconds=seconds)


def train_command(stage: TrainStage, context: Context) -> list[str]:
    """The command line of one process of a training: the resolved recipe, since neither name nor file says what was changed."""
    arguments = ["--recipe", str(write_recipe(context)), "--work", str(context.work)]
    arguments += [word for file in component_files(context.recipe) for word in ("--components", str(file))]
    arguments += ["--workers", str(stage.workers)] if stage.workers is not None else []
    arguments += ["--step-timeout", str(stage.step_timeout)]
    arguments += ["--stop-after", str(stage.stop_after)] if stage.stop_after is not None else []
    arguments += ["--phase", stage.recipe.phase.name]
    arguments += ["--start", str(stage.start)] if stage.start else []
    arguments += ["--data", str(context.data)] if context.data != context.toy else []
    return [sys.executable, "-m", "launchers.cli", "train", *arguments, *(["--force"] if context.force else [])]


def _how(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
