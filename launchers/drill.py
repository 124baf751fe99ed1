"""`crem drill`: whether a run on this machine survives what happens to runs."""

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from pipeline.errors import PipelineError

FAULTS = (
    "rank killed",
    "launcher killed",
    "teacher's server killed",
    "endpoint down",
    "disk full",
    "MLflow server killed",
    "checkpoint truncated",
    "shard deleted",
    "clock jump",
)


@click.command()
@click.option("--work", type=click.Path(path_type=Path, file_okay=False), default=Path("drill"), help="Folder; emptied first.")
@click.option("--only", multiple=True, type=click.Choice(FAULTS), help="This kind of fault alone; may be given several times.")
@click.option("--each", type=click.IntRange(1), default=6, help="Faults of each kind.")
@click.option("--seed", type=int, default=1, help="Decides the moments and places.")
@click.option("--seconds", type=click.FloatRange(1), default=120.0, help="A case that takes longer counts as a hang.")
def drill(work: Path, only: tuple[str, ...], each: int, seed: int, seconds: float) -> None:
    """Break the smallest toy pipeline in seeded ways, give its command again, and hold the end against an unbroken run.

    Ranks, the launcher, the teacher's server and MLflow's are killed, an endpoint is down, files cannot grow, a checkpoint is
    cut, a shard is gone, the clock jumps. Each must end with the weights and losses of the unbroken run, bit for bit; an end with
    a clear line is told apart from worse, and is not good enough. Processes are forked from this one, so that a fault takes
    seconds. What did not end well keeps its folder.

    \b
    Examples:
      crem drill
      crem drill --only "rank killed" --each 2
    """
    from jobs.drill.drill import drill, table

    outcomes = []
    for outcome in drill(work.absolute(), _crem, kinds=only or FAULTS, each=each, seed=seed, seconds=seconds):
        click.echo(
            f"{outcome.number:3d} {outcome.kind} ({outcome.moment}): {outcome.verdict}, {outcome.seconds:.0f} s {outcome.said}"
        )
        outcomes.append(outcome)
        (work / "drill.md").write_text(table(outcomes) + "\n", encoding="utf-8")
    bad = [outcome for outcome in outcomes if not outcome.is_good]
    click.echo(f"{len(outcomes) - len(bad)} of {len(outcomes)} faults ended as they must ({work / 'drill.md'})")
    if bad:
        raise PipelineError(f"{len(bad)} faults did not end well; look at {work}/case-{bad[0].number:03d}.log first")


def _crem(words: Sequence[str]) -> None:
    """Be the command with these words; it ends the process."""
    from launchers.cli import main

    sys.argv = ["crem", *words]
    main()
