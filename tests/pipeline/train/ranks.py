"""One rank of a small training run, started by the tests: `python -m tests.pipeline.train.ranks OUT`, job on stdin."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d

from data_prep.tiny_model import TILE_PIXELS
from jobs.ranks import end
from pipeline.batch import Outputs
from pipeline.model import head
from pipeline.model.tiles import Tiles
from pipeline.recipe import Recipe
from pipeline.tracking import NullTracker
from pipeline.train import engine, loop
from pipeline.train.build import build_embedder, chorus_ids
from pipeline.train.collectives import max_over_ranks
from pipeline.train.dataloader.step_dataset import StepDataset
from pipeline.train.dataloader.step_work import StepWork, pack_work
from pipeline.train.engine import Engine
from pipeline.train.held_out import HeldOut
from pipeline.train.run_options import RunOptions, TrainingPaths
from pipeline.train.step import train_step
from pipeline.train.vision_features import Recomputed
from tests.pipeline.corpus import MemoryQa, corpus, measured, small_recipe, variant

CPU = torch.device("cpu")

PERSISTENT = 1500
"""Under ZeRO-3 these small models hold norms, LoRA's matrices and those of attention, and gather those of the MLP."""


def make(folder: Path, recipe: Recipe) -> tuple[Engine, StepDataset]:
    """An engine and this rank's dataset over the small corpus."""
    phase = recipe.phase
    embedder, opened = build_embedder(folder, recipe, dtype=torch.float32)
    engine = Engine(embedder, phase)
    vocabulary = opened.vocabulary(chorus_ids(opened, recipe), recipe.vision)
    read = measured(corpus(), recipe, vocabulary)
    return engine, StepDataset(read, recipe, vocabulary, rank=engine.rank, num_ranks=engine.num_ranks)


def every_weight(engine: Engine) -> dict[str, torch.Tensor]:
    """All weights by name: those of the engine's module, and those of a frozen tower, which is outside of it."""
    weights: dict[str, torch.Tensor] = dict(engine.module.named_parameters())
    if isinstance(engine.vision, Recomputed):
        weights |= {f"outside.visual.{name}": weight for name, weight in engine.vision.tower.tower.named_parameters()}
    return weights


def by_pictures(dataset: StepDataset, step: int) -> StepWork:
    """A step's work dealt otherwise: rows with pictures to rank 0, all others to the other ranks."""
    draw, others = dataset.draw(step), dataset.num_ranks - 1
    rows = [row for row in dataset.global_rows(draw, step) if bool(row.pixels) == (dataset.rank == 0)]
    dealt = rows[dataset.rank - 1 :: others] if dataset.rank else rows
    return pack_work(dealt, dataset.plan(draw, step), dataset.recipe)


def gradients(folder: Path, recipe: Recipe, step: int = 0, work: StepWork | None = None) -> dict[str, torch.Tensor]:
    """Whole gradients of a step: everything but the optimizer's move."""
    engine, dataset = make(folder, recipe)
    return step_gradients(engine, work or dataset.work(dataset.draw(step), step), recipe)


def step_gradients(engine: Engine, work: StepWork, recipe: Recipe) -> dict[str, torch.Tensor]:
    """Whole gradients of a step's work."""
    found: dict[str, torch.Tensor] = {}

    def look(learning_rate: float) -> float:
        found.update(engine.full_gradients())
        return 0.0

    engine.step = look  # type: ignore[method-assign]
    train_step(engine, work, recipe.phase, 0.0)
    return found


def uneven(folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Gradients of a step of which one rank has no picture, and each rank's chunks, tokens and pictures."""
    engine, dataset = make(folder, recipe)
    work = by_pictures(dataset, 0)
    pictures = sum(len(chunk.full.grid_thw) for chunk in work.chunks)
    shares: list[Any] = [None] * engine.num_ranks
    dist.all_gather_object(shares, (len(work.chunks), work.num_tokens, pictures))
    return {"gradients": step_gradients(engine, work, recipe), "shares": shares}


def half_recipe(stage: int) -> Recipe:
    """One row a chunk, in bfloat16."""
    return small_recipe(zero_stage=stage, dtype="bfloat16", chunk_tokens=1).with_phase(tower="frozen")


def summed(outputs: Outputs) -> torch.Tensor:
    """Any number that all outputs enter."""
    return outputs.token_losses.sum() + outputs.embeddings[:, 0].sum()


def added_up(folder: Path, stage: int) -> dict[str, torch.Tensor]:
    """Gradients of `summed` over all chunks of a step, as the engine adds them up over chunks and ranks."""
    recipe = half_recipe(stage)
    engine, dataset = make(folder, recipe)
    work = dataset.work(dataset.draw(0), 0)
    calls = max_over_ranks(len(work.chunks))
    for place in range(calls):
        if place < len(work.chunks):
            engine.backward(summed(engine(engine.vision.full(work.chunks[place]))), last=place == calls - 1)
        else:
            engine.run_dummy(work.dummy, last=place == calls - 1)
    return engine.full_gradients()


def trial(folder: Path, recipe: Recipe) -> dict[str, dict[str, Any]]:
    """One whole step: its gradients, its report, and the held-out figures after it."""
    engine, dataset = make(folder, recipe)
    found: dict[str, torch.Tensor] = {}
    take = engine.step

    def note(learning_rate: float) -> float:
        found.update(engine.full_gradients())
        return take(learning_rate)

    engine.step = note  # type: ignore[method-assign]
    report = train_step(engine, dataset[0], recipe.phase, 1e-3)  # type: ignore[arg-type]
    return {"gradients": found, "report": asdict(report), "held_out": look(engine, dataset)}


def look(engine: Engine, dataset: StepDataset) -> dict[str, float]:
    """The held-out figures, of which this rank reads its share."""
    return HeldOut(dataset.phase).evaluate(engine, dataset.held_out_work(), dataset.dummy())


def again_recipe(tower: str, stage: int) -> Recipe:
    """Chunks of a few rows; the first of a step have no pictures."""
    return small_recipe(zero_stage=stage, chunk_tokens=100).with_phase(tower=tower)


def taken_again(folder: Path, recipe: Recipe) -> dict[str, dict[str, Any]]:
    """Norms and whole gradients of one step taken twice at rate 0, and of a step without any picture after it."""
    engine, dataset = make(folder, recipe)
    draw, take = dataset.draw(0), engine.step
    work, wordy = dataset.work(draw, 0), [row for row in dataset.global_rows(draw, 0) if not row.pixels]
    works = {
        "first": work,
        "again": work,
        "no pictures": pack_work(wordy[dataset.rank :: dataset.num_ranks], dataset.plan(draw, 0), recipe),
    }
    found: dict[str, dict[str, Any]] = {}
    for name, taken in works.items():

        def look(learning_rate: float, name: str = name) -> float:
            found[name] = {"gradients": engine.full_gradients()}
            return take(learning_rate)

        engine.step = look  # type: ignore[method-assign]
        found[name]["norm"] = train_step(engine, taken, recipe.phase, 0.0).gradient_norm
    return found


def uneven_recipe(tower: str, stage: int) -> Recipe:
    """Small chunks; with a frozen tower, features on the host and checkpointed layers, with a trained one, kept chunks."""
    frozen = tower == "frozen"
    how = {"features": "host", "gradient_checkpointing": True} if frozen else {"kept_chunks": int(stage < 3)}
    return small_recipe(zero_stage=stage, chunk_tokens=250, **how).with_phase(tower=tower)


def family_recipe(family: str, stage: int) -> Recipe:
    """A trained tower of any family."""
    recipe = uneven_recipe("trained", stage)
    return replace(recipe, pixels=Tiles(side=TILE_PIXELS, max_tiles=2)) if family == "internvl" else recipe


def run_of(folder: Path, recipe: Recipe, steps: int) -> dict[str, Any]:
    """Weights after some steps, the three losses on the way (steps, 3), and how many moves the optimizer counts."""
    engine, dataset = make(folder, recipe)
    reports = [train_step(engine, dataset[step], recipe.phase, 3e-3) for step in range(steps)]  # type: ignore[arg-type]
    losses = [(report.contrastive, report.own_language, report.outside_language) for report in reports]
    moves = {float(state["step"]) for state in engine.inner.state.values()}
    return {
        "weights": engine.state_tensors()[0],
        "losses": torch.tensor(losses, dtype=torch.float64),
        "moves": moves,
        "timeouts": timeouts(),
    }


def timeouts() -> dict[str, float]:
    """Seconds that each process group of this rank waits for others, by the group's name."""
    groups = distributed_c10d._world.pg_map
    return {group.group_name: group._get_backend(CPU).options._timeout.total_seconds() for group in groups}


def whole_run(folder: Path, out: Path) -> None:
    """A run of two steps through the loop, on the small corpus."""
    index, qa = corpus(), MemoryQa()
    with (
        mock.patch.object(loop.ShardIndex, "open", return_value=index),
        mock.patch.object(loop.QaTable, "open", return_value=qa),
    ):
        paths = TrainingPaths(shards=out, qa=None, model=folder, out=out)
        loop.train(paths, small_recipe(steps=2), NullTracker(), progress=lambda *_: None, options=RunOptions(num_workers=0))


def main() -> None:
    head.HEAD_ROWS = 50  # so that ranks score different numbers of pieces
    engine.PERSISTENT = PERSISTENT
    job, out = json.loads(sys.stdin.read()), Path(sys.argv[1])
    folder = Path(job["folder"])
    for name, stage in job.get("variants", []):
        save(trial(folder, variant(name, zero_stage=stage, chunk_tokens=job["chunk_tokens"])), out / f"{name}-{stage}.pt")
    if "train" in job:
        whole_run(folder, Path(job["train"]))
    for tower, stage in job.get("uneven", []):
        save(uneven(folder, uneven_recipe(tower, stage)), out / f"uneven-{tower}-{stage}.pt")
    for family, stage in job.get("families", []):
        save(uneven(folder / family, family_recipe(family, stage)), out / f"{family}-{stage}.pt")
    for tower, stage in job.get("again", []):
        save(taken_again(folder, again_recipe(tower, stage)), out / f"again-{tower}-{stage}.pt")
    for stage, steps in enumerate(job.get("steps", [])):
        save(added_up(folder, stage), out / f"half-{stage}.pt")
        save(run_of(folder, small_recipe(zero_stage=stage, chunk_tokens=250), steps), out / f"run-{stage}.pt")


def save(found: dict[str, Any], file: Path) -> None:
    """Rank 0 writes what all have."""
    if dist.get_rank() == 0:
        torch.save(found, file)


if __name__ == "__main__":
    main()
    dist.destroy_process_group()
    end(0)
