"""`crem run`: the whole chain of stages, here or as jobs of a Slurm cluster."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.defaults import ORDER
from launchers import options
from launchers.stages import runner, tell
from pipeline.train.forecast.gpus import DEFAULT_GPU, GPUS

if TYPE_CHECKING:
    from jobs.stage import Context

SLURM = "slurm"


@click.command()
@options.shared
@options.pictures
@click.option("--convert-workers", type=click.IntRange(1), default=1, help="Processes that convert.")
@options.teacher
@options.judge
@options.model
@options.training
@click.option("--until", type=click.Choice(ORDER), default=ORDER[-1], help="Last stage to run.")
@click.option("--on", type=click.Choice(("local", SLURM)), default="local", help="Run here, or submit the chain and return.")
@click.option("--nodes", type=click.IntRange(1), default=1, help="Slurm: nodes that train.")
@click.option(
    "--gpus-per-node", type=click.IntRange(0), default=8, help="Slurm: GPUs of each, one rank a GPU; 0: one rank, no GPU."
)
@click.option("--convert-tasks", type=click.IntRange(1), default=1, help="Slurm: slices of the conversion, an array of jobs.")
@click.option(
    "--site", type=click.Path(path_type=Path, dir_okay=False), help="Slurm: TOML of partition, account, modules, container."
)
@click.option("--dry-run", is_flag=True, help="Slurm: print scripts, DeepSpeed JSON, memory and hours; submit nothing.")
@click.option("--gpu", type=click.Choice(sorted(GPUS)), default=DEFAULT_GPU, help="Dry run: kind of GPU.")
def run(until: str, processes: int, on: str, **given: Any) -> None:
    """Run the chain of stages; what is done already is skipped.

    Without --data the toy world is drawn first and a loopback server answers in place of the teacher model. It ends with a
    table of P@1 and says where the report is and how to open the tracked runs.

    With --on slurm each stage that is not done becomes a job behind the one before it; the scripts stand in <work>/slurm, to be
    read or submitted by hand, and crem status says how far they are. The same line goes on after a failure.

    \b
    Examples:
      crem run --recipe tiny
      crem run --recipe tiny --data my_data --until convert
      crem run --recipe crem_2b --data corpora --work runs/crem_2b --processes 8 \\
        --model-folder models/Qwen2-VL-2B-Instruct --url http://127.0.0.1:8000/v1
      crem run --recipe crem_2b --data corpora --work runs/crem_2b --on slurm --nodes 4 --gpus-per-node 8 \\
        --site site.toml --convert-tasks 16 --model-folder models/Qwen2-VL-2B-Instruct --url http://node9:8000/v1
    """
    from jobs.ranks import refuse_ranks
    from jobs.run import Machine, run_chain, stages

    refuse_ranks("run")
    shape = {name: given.pop(name) for name in ("nodes", "gpus_per_node", "convert_tasks")}
    elsewhere = {name: given.pop(name) for name in ("site", "dry_run", "gpu")}
    shared = options.take_shared(given)
    context = options.make_context(**shared, needs=options.needed(given))
    chain = stages(context, Machine(**given))
    if on == SLURM:
        from launchers.slurm.chain import Shape
        from launchers.slurm.run import run_on_slurm

        run_on_slurm(chain, context, Shape(**shape), until=until, shared=shared, **elsewhere)
        return
    if elsewhere["site"] or elsewhere["dry_run"]:
        raise click.UsageError("--site and --dry-run belong to --on slurm; of a training here, crem train --dry-run tells all")
    for outcome in run_chain(chain, context, until=until, run=runner(processes)):
        tell(outcome)
    _tell_end(context, until)


def _tell_end(context: "Context", until: str) -> None:
    """The table of a whole chain, and where to look."""
    from jobs.summary import result_table, token_table, tracking_command

    if until == ORDER[-1]:
        elastic = context.recipe.tokens.elastic
        click.echo(f"\n{result_table(context.evaluation, elastic[:-1])}\n")
        if elastic:
            click.echo(f"{token_table(context.evaluation, elastic)}\n")
        click.echo(f"report: {(context.report / 'report.html').resolve()}")
    click.echo(f"tracked runs:\n  {tracking_command(context)}")
