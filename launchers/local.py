"""Training and mining on this machine in several processes: what they are called with, and what their ends mean."""

import signal
import sys
import time

from jobs.mine import MineStage
from jobs.runner import Outcome, write_recipe
from jobs.stage import PARENT_VARIABLE, Context
from jobs.train import TrainStage
from pipeline.errors import PipelineError, StoppedError
from pipeline.manifest import Manifest
from pipeline.recipes.source import component_files
from pipeline.train.fault_tolerance.signals import STOPPED
from pipeline.train.local_ranks import run_ranks

InProcesses = TrainStage | MineStage
"""Stages that several processes work on together."""


def run_in_processes(stage: InProcesses, context: Context, *, processes: int) -> Outcome:
    """Run a stage in several processes and return its outcome.

    The children find their settings on their command line, as a user's own `crem train` or `crem mine` would.

    Raises:
        StoppedError: a signal stopped them.
        PipelineError: one of them failed; the others were ended with it.
    """
    before, begun = Manifest.read(stage.folder), time.monotonic()
    part_of = {PARENT_VARIABLE: context.parent_run()}
    codes = run_ranks(command(stage, context), processes=processes, variables=part_of)
    if STOPPED in codes:
        raise StoppedError(f"{stage.name}: stopped; the same command goes on from {_LEFT[type(stage)]}")
    manifest = Manifest.read(stage.folder)
    if any(codes) or manifest is None:
        said = ", ".join(f"rank {rank} {_how(code)}" for rank, code in enumerate(codes) if code)
        raise PipelineError(f"{stage.name}: {said or 'no process finished it'}; the first error above says why")
    seconds = time.monotonic() - begun
    return Outcome(stage=stage.name, folder=stage.folder, manifest=manifest, was_done=manifest == before, seconds=seconds)


_LEFT = {TrainStage: "its newest checkpoint", MineStage: "what is mined"}


def command(stage: InProcesses, context: Context) -> list[str]:
    """The command line of one of the processes: the resolved recipe, since neither name nor file says what was changed."""
    train = stage.train if isinstance(stage, MineStage) else stage
    arguments = ["--recipe", str(write_recipe(context)), "--work", str(context.work)]
    arguments += [word for file in component_files(context.recipe) for word in ("--components", str(file))]
    if train is stage:
        arguments += ["--workers", str(train.workers)] if train.workers is not None else []
        arguments += ["--step-timeout", str(train.step_timeout)]
        arguments += ["--stop-after", str(train.stop_after)] if train.stop_after is not None else []
    arguments += ["--phase", train.recipe.phase.name]
    arguments += ["--start", str(train.start)] if train.start else []
    arguments += ["--data", str(context.data)] if context.data != context.toy else []
    name = "train" if train is stage else "mine"
    return [sys.executable, "-m", "launchers.cli", name, *arguments, *(["--force"] if context.force else [])]


def _how(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
