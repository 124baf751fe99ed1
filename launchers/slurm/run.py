"""`crem run --on slurm`: the stages that are not done, as jobs one behind the other."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from jobs.stage import PARENT_VARIABLE, Context, Stage
from launchers.slurm.chain import Shape, chain_jobs
from launchers.slurm.job import Job
from launchers.slurm.site import Site, read_site
from launchers.slurm.submitted import folder_of, refuse_queued, scripts, stand_ins, submit_all, write_scripts
from pipeline.errors import DataError
from pipeline.manifest import canonical_json, write_atomic
from pipeline.recipe_json import recipe_fingerprint


def run_on_slurm(
    chain: Sequence[Stage],
    context: Context,
    shape: Shape,
    *,
    until: str,
    shared: dict[str, Any],
    site: Path | None,
    dry_run: bool,
    gpu: str,
) -> None:
    """Submit the stages up to and with `until`, from the first that is not done, and print the jobs' numbers.

    With `dry_run` the scripts and the forecast of the training are printed, and nothing is written or submitted.
    """
    if context.force:
        raise click.UsageError("--force would begin anew whenever a job is put back; run the stage's own command with it")
    settings = read_site(site)
    recipe = _recipe_file(context)
    words = shared_words(context, recipe)
    jobs = chain_jobs(_to_do(chain, context, until), click.get_current_context(), words, shape)
    if not jobs:
        click.echo("all stages are done")
    elif dry_run:
        for path, text in (stand_ins(context.work, settings) | scripts(jobs, context.work, settings, {})).items():
            click.echo(f"# {path}\n{text}")
        _forecast(shared, shape, gpu)
    else:
        _submit(jobs, context, settings, recipe)


def _submit(jobs: Sequence[Job], context: Context, site: Site, recipe: Path) -> None:
    """Write what the jobs read, submit them, and print their numbers."""
    refuse_queued(context.work)
    write_scripts(stand_ins(context.work, site), context.work)
    texts = scripts(jobs, context.work, site, _parent(context))
    write_scripts(texts, context.work)
    write_atomic(recipe, json.dumps(json.loads(canonical_json(context.recipe)), indent=1) + "\n")
    for job, script in zip(submit_all(jobs, list(texts), context.work), texts, strict=True):
        click.echo(f"{job.number}  {job.name:<14} {script}")
    click.echo(f"crem status --work {context.work} says how far they are")


def _to_do(chain: Sequence[Stage], context: Context, until: str) -> list[Stage]:
    """The stages from the first that is not done."""
    from jobs.run import stages_until
    from jobs.runner import is_done

    def found_done(stage: Stage) -> bool:
        try:
            return not context.force and is_done(stage)
        except DataError:  # an input is not there yet
            return False

    return list(itertools.dropwhile(found_done, stages_until(chain, until)))


def _recipe_file(context: Context) -> Path:
    """Where the resolved recipe of the jobs stands, which later changes of a user's own file no longer touch."""
    return folder_of(context.work) / f"recipe-{recipe_fingerprint(context.recipe)[:12]}.json"


def shared_words(context: Context, recipe: Path) -> list[str]:
    """What every stage is called with: the recipe's file and the folders, as absolute paths."""
    from pipeline.recipes.source import component_files

    words = ["--recipe", str(recipe), "--work", str(context.work.absolute())]
    words += [word for file in component_files(context.recipe) for word in ("--components", str(Path(file).absolute()))]
    return words + (["--data", str(context.data.absolute())] if context.data != context.toy else [])


def _parent(context: Context) -> dict[str, str]:
    """The run of the tracker that the jobs' own belong to."""
    from jobs.chain_run import chain_run

    with chain_run(context) as parent_run:
        run = parent_run()
    return {PARENT_VARIABLE: run} if run else {}


def _forecast(shared: dict[str, Any], shape: Shape, gpu: str) -> None:
    """DeepSpeed's settings, memory and hours of every phase; nothing for a training without GPUs."""
    from launchers.preflight import forecast

    if shape.gpus_per_node:
        gpus = shape.nodes * shape.gpus_per_node
        folder = click.get_current_context().params["model_folder"]
        forecast(shared, phase="", gpus=gpus, gpu=gpu, visual_tokens=None, model_folder=folder)
