"""`crem train --dry-run`: what a run would be and take, before anything is loaded."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from launchers import options
from pipeline.chunk_budget import AUTO
from pipeline.train.forecast.gpus import GIB, GPUS, Gpu

if TYPE_CHECKING:
    from jobs.stage import Context
    from pipeline.recipe import Recipe
    from pipeline.train.forecast.chunk_planner import ChunkPlanner
    from pipeline.train.forecast.forecast import Forecast


def forecast(
    shared: dict[str, Any], *, phase: str, gpus: int, gpu: str, visual_tokens: int | None, model_folder: Path | None
) -> None:
    """Print the forecast of a run: of one phase, or of all and their hours together.

    Raises ConfigError when one cannot fit, after the numbers that say so.
    """
    forecast_of(options.make_context(**shared), phase=phase, gpus=gpus, gpu=gpu, visual=visual_tokens, model_folder=model_folder)


def forecast_of(
    context: "Context", *, phase: str = "", gpus: int, gpu: str, visual: int | None, model_folder: Path | None = None
) -> None:
    """The same of a recipe that was read already."""
    from pipeline.manifest import canonical_json

    recipe = context.recipe
    parts = [recipe.until(phase)] if phase else [recipe.until(each.name) for each in recipe.phases]
    shown = visual or recipe.pixels.max_tokens
    click.echo(json.dumps(json.loads(canonical_json(recipe)), indent=2))
    with _backbone(context, model_folder) as folder:
        found = [_forecast_phase(part, folder, GPUS[gpu], gpus, shown) for part in parts]
    if len(found) > 1:
        click.echo(f"\nall {len(found)} phases: {sum(each.hours for each in found):.1f} hours")
    for each in found:
        each.refuse_misfit()


@contextmanager
def _backbone(context: "Context", given: Path | None) -> Iterator[Path]:
    """The folder that is given or that stage `model` knows of; before there is one, the published shape's configuration alone."""
    from data_prep.published_shapes import SHAPES, write_config
    from jobs.model import backbone_folder
    from pipeline.recipe import PublishedBackbone

    backbone = context.recipe.backbone
    is_there = given is not None or context.model.exists()
    if isinstance(backbone, PublishedBackbone) and backbone.name in SHAPES and not is_there:
        with TemporaryDirectory() as aside:
            yield write_config(Path(aside), backbone.name)
    else:
        yield given or backbone_folder(context)


def _forecast_phase(part: "Recipe", folder: Path, gpu: Gpu, gpus: int, visual: int) -> "Forecast":
    """Print the forecast of the last phase of a recipe and return it."""
    from pipeline.train.engine import deepspeed_config
    from pipeline.train.forecast import forecast
    from pipeline.train.forecast.chunk_planner import ChunkPlanner

    planner = ChunkPlanner(folder, part, gpus, visual=visual)
    found = forecast.forecast(folder, planner.recipe_on(gpu), gpu, gpus, visual=visual)
    config = deepspeed_config(part.phase, gpus, sum(found.weights.trained))
    click.echo(f"\nphase {part.phase.name}, DeepSpeed:\n{json.dumps(config, indent=2)}")
    click.echo("\n".join(("", *forecast_lines(found, visual), *_auto_lines(planner))))
    return found


def _auto_lines(planner: "ChunkPlanner") -> list[str]:
    """What `auto` chooses on each kind of GPU, before the first steps' peak corrects it; nothing where the recipe says all."""
    if AUTO not in (planner.asked.chunk_tokens, planner.asked.kept_chunks):
        return []
    chosen = [(name, planner.recipe_on(gpu).phase.budget) for name, gpu in GPUS.items()]
    return [
        "auto, before the first steps' peak corrects it, chunk_tokens and kept_chunks: "
        + "; ".join(f"{name} {budget.tokens:,} and {budget.kept}" for name, budget in chosen)
    ]


def forecast_lines(found: "Forecast", visual: int) -> list[str]:
    """Memory by part, FLOPs and hours."""
    from pipeline.train.forecast.assumed_rows import Assumed
    from pipeline.train.forecast.forecast import RESERVE, SLACK, UTILISATION

    memory, work, weights = found.memory, found.work, found.weights
    every = sum(weights.trained) + sum(weights.frozen) + sum(weights.outside)
    phase = found.recipe.phase
    room = found.gpu.memory - RESERVE
    return [
        f"{every / 1e6:,.1f} M weights, {sum(weights.trained) / 1e6:,.2f} M of them trained; assumed: "
        f"{Assumed(recipe=found.recipe, visual=visual)}",
        f"memory on each of {found.num_gpus} {found.gpu.name}, GiB:",
        *(f"  {name:<20}{size / GIB:8.2f}" for name, size in memory.parts.items()),
        f"  {'in all':<20}{memory.total / GIB:8.2f}  of {room / GIB:.1f} ({RESERVE // GIB} left to the driver and NCCL; "
        f"slack: {SLACK:.0%} of what a step allocates, assumed)",
        f"  beside the state a step takes {memory.step.total / GIB:.2f}, a held-out look {memory.look / GIB:.2f}, a checkpoint "
        f"{memory.checkpoint / GIB:.2f}: the largest counts",
        f"memory of rank 0's host while it writes a checkpoint, beside its loaders: {memory.host / GIB:.2f} GiB",
        f"a step: {work.tokens:,} tokens, {work.chunks} chunks a GPU (chunk_tokens {phase.budget.tokens:,}, kept_chunks "
        f"{phase.budget.kept}), {work.model / 1e15:.2f} PFLOPs of the model, "
        f"{work.hardware / 1e15:.2f} with replays",
        f"time: {found.seconds:.1f} s a step, {found.pairs_per_second:.1f} pairs/s a GPU, {found.look_seconds:.1f} s a held-out "
        f"look; {found.hours:.1f} hours for {phase.steps:,} steps and {found.num_looks:,} looks at {UTILISATION:.0%} of the peak "
        "(assumed, not measured)",
    ]
