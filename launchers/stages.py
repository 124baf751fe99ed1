"""How a command runs stages: one of them or the chain, here or in several processes, and what it says of each."""

from typing import TYPE_CHECKING, Any

import click

from launchers import options
from launchers.progress import Progress
from pipeline.errors import StoppedError

if TYPE_CHECKING:
    from jobs.run import Runner
    from jobs.runner import Outcome
    from jobs.stage import Context, Stage


def one_stage(name: str, shared: dict[str, Any], machine: dict[str, Any] | None = None, processes: int = 1) -> "Context":
    """Run one stage of the chain, say what became of it, and return what it was run with."""
    from jobs.ranks import leave, rank, refuse_ranks
    from jobs.run import Machine, stage
    from pipeline.train.local_ranks import is_started_rank

    refuse_ranks(name)
    given = machine or {}
    context = options.make_context(**shared, needs=options.needed(given) if name == "convert" else ())
    settings = Machine(**given)
    try:
        outcome = runner(processes)(stage(name, context, settings), context)
    except StoppedError:
        leave()
        raise
    # Not after a failure: the other ranks may be in the middle of something, and to leave would be to wait for them.
    leave()
    if not rank() and not is_started_rank():
        tell(outcome)
    return context


def runner(processes: int) -> "Runner":
    """How stages are run here: in this process, but training and mining in several where that was asked for."""
    from jobs.ranks import num_ranks
    from jobs.runner import is_done, run_stage
    from launchers.local import InProcesses, run_in_processes

    def run_here(stage: "Stage", context: "Context") -> "Outcome":
        progress = context.progress
        try:
            alone = processes == 1 or num_ranks() > 1
            if isinstance(stage, InProcesses) and not alone and (context.force or not is_done(stage)):
                return run_in_processes(stage, context, processes=processes)
            return run_stage(stage, context)
        finally:
            if isinstance(progress, Progress):
                progress.close()

    return run_here


def tell(outcome: "Outcome") -> None:
    """One line on a stage: already done, or how long it took and what it counted."""
    if outcome.was_done:
        click.echo(f"{outcome.stage}: already done ({outcome.folder})")
        return
    counts = "".join(f", {name} {count}" for name, count in outcome.manifest.counts.items())
    click.echo(f"{outcome.stage}: done in {outcome.seconds:.0f} s ({outcome.folder}{counts})")
