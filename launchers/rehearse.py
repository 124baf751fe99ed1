"""`crem rehearse`: whether and how fast a recipe runs on this machine, before anything is downloaded."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from launchers import options
from launchers.preflight import forecast_of
from launchers.progress import Progress
from launchers.stages import runner
from pipeline.errors import PipelineError
from pipeline.train.forecast.gpus import DEFAULT_GPU, GPUS

if TYPE_CHECKING:
    from jobs.rehearse import Size
    from jobs.stage import Context
    from pipeline.train.forecast.forecast import Forecast

DEFAULT_WORK = Path("rehearsal")


@click.command()
@click.option("--recipe", default=options.DEFAULT_RECIPE, metavar="NAME", help="What is rehearsed: as in crem train.")
@options.SETTINGS
@click.option("--phase", default="", metavar="NAME", help="Which of its phases. Default: the first.")
@click.option(
    "--work", type=click.Path(path_type=Path, file_okay=False), default=DEFAULT_WORK, help="Folder for all that is made up."
)
@click.option("--steps", type=click.IntRange(1), default=3, help="Steps before the interruption; one more follows it.")
@click.option(
    "--pairs", type=click.IntRange(1), help="Pairs of a step, and an eighth as many conversations. Default: the recipe's."
)
@click.option("--visual-tokens", type=click.IntRange(1), help="Of every picture. Default: the recipe's most; without a GPU 64.")
@click.option("--processes", type=click.IntRange(1), default=1, help="Ranks on this machine: one a GPU.")
@click.option("--gpu", type=click.Choice(sorted(GPUS)), default=DEFAULT_GPU, help="Kind of GPU that the forecast is for.")
@click.option("--dry-run", is_flag=True, help="The forecast alone, of the recipe as it is trained: nothing is made or run.")
def rehearse(
    recipe: str,
    settings: tuple[str, ...],
    phase: str,
    work: Path,
    steps: int,
    pairs: int | None,
    visual_tokens: int | None,
    processes: int,
    gpu: str,
    dry_run: bool,
) -> None:
    """Run a few steps of the real thing with a model of the published shape, random weights and drawn pictures.

    It prints memory beside the forecast, tokens a second, utilisation, the wait for data, the size of a checkpoint, and goes on
    from it once; then a batch is embedded. Nothing has to be downloaded. The model's folder takes twice as many bytes as weights
    (4.4 GB for 2B) and is kept for the next rehearsal. What is seen of losses means nothing. Without a GPU the steps
    are float32 and pictures have 64 visual tokens, unless told otherwise.

    \b
    Examples:
      crem rehearse --recipe tiny
      crem rehearse --recipe crem_2b --pairs 2 --steps 1
      crem rehearse --recipe crem_2b --processes 8
      crem rehearse --recipe crem_7b --dry-run --processes 8 --gpu a800-80g
      crem rehearse --recipe coma_3b --phase match --visual-tokens 256 --processes 8
    """
    import torch

    from jobs.rehearse import Size, lines, prepare, rehearsal_recipe, rehearse, without_gpu
    from jobs.stage import Context, silent
    from pipeline.recipes.source import resolve
    from pipeline.tracking import default_uri

    resolved = resolve(recipe, settings)
    shown = visual_tokens or resolved.pixels.max_tokens
    if not dry_run and not torch.cuda.is_available():
        resolved, shown, said = without_gpu(resolved, visual_tokens, settings)
        if said:
            click.echo(said, err=True)
    size = Size(steps=steps, pairs=pairs, visual=shown, ranks=processes)
    context = Context(
        work=work,
        data=work / "drawn",
        recipe=resolved if dry_run else rehearsal_recipe(resolved, phase, size),
        tracking=default_uri(work),
        progress=silent if options.is_quiet() else Progress(),
    )
    if dry_run:
        forecast_of(context, phase=phase, gpus=processes, gpu=gpu, visual=visual_tokens)
        return
    work.mkdir(parents=True, exist_ok=True)
    run = runner(processes)
    for doing in prepare(context, run):
        click.echo(doing, err=True)
    found = rehearse(context, size, run)
    expected = _forecast(context, size, gpu)
    click.echo("\n".join(lines(found, expected, size)))
    if not found.embeddings_are_finite:
        raise PipelineError("the embeddings of the rehearsed model are not finite; report this with the table above")


def _forecast(context: "Context", size: "Size", gpu: str) -> "Forecast":
    """What the forecast says of these steps, with the chunks that they had."""
    from jobs.model import backbone_folder
    from pipeline.train.forecast.chunk_planner import ChunkPlanner
    from pipeline.train.forecast.forecast import forecast

    folder = backbone_folder(context)
    planned = ChunkPlanner(folder, context.recipe, size.ranks, visual=size.visual).recipe_on(GPUS[gpu])
    return forecast(folder, planned, GPUS[gpu], size.ranks, visual=size.visual)
