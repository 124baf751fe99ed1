"""One rank of a small training run, started by the tests: `python -m tests.pipeline.train.ranks OUT`, job on stdin."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist

from pipeline.recipe import Recipe
from pipeline.tracking import NullTracker
from pipeline.train import loop
from pipeline.train.build import build_embedder, chorus_ids
from pipeline.train.engine import Engine
from pipeline.train.feed import Feed
from pipeline.train.held_out import HeldOut
from pipeline.train.step import train_step
from tests.pipeline.corpus import MemoryQa, corpus, measured, small_recipe, variant


def make(folder: Path, recipe: Recipe) -> tuple[Engine, Feed]:
    """An engine and this rank's feed over the small corpus."""
    phase = recipe.phases[0]
    embedder, opened = build_embedder(folder, recipe, dtype=torch.float32)
    engine = Engine(embedder, phase)
    vocabulary = opened.vocabulary(chorus_ids(opened, recipe))
    read = measured(corpus(), recipe, vocabulary)
    return engine, Feed(read, recipe, phase, vocabulary, rank=engine.rank, num_ranks=engine.num_ranks)


def gradients(folder: Path, recipe: Recipe, step: int = 0) -> dict[str, torch.Tensor]:
    """Whole gradients of a step: everything but the optimizer's move."""
    engine, feed = make(folder, recipe)
    found: dict[str, torch.Tensor] = {}

    def look(learning_rate: float) -> float:
        found.update(engine.full_gradients())
        return 0.0

    engine.step = look  # type: ignore[method-assign]
    train_step(engine, feed[step], recipe, recipe.phases[0], 0.0)  # type: ignore[arg-type]
    return found


def trial(folder: Path, recipe: Recipe) -> dict[str, dict[str, Any]]:
    """One whole step: its gradients, its report, and the held-out figures after it."""
    engine, feed = make(folder, recipe)
    found: dict[str, torch.Tensor] = {}
    take = engine.step

    def look(learning_rate: float) -> float:
        found.update(engine.full_gradients())
        return take(learning_rate)

    engine.step = look  # type: ignore[method-assign]
    report = train_step(engine, feed[0], recipe, recipe.phases[0], 1e-3)  # type: ignore[arg-type]
    return {"gradients": found, "report": asdict(report), "held_out": HeldOut(feed).evaluate(engine)}


def weights_after(folder: Path, recipe: Recipe, steps: int) -> tuple[dict[str, torch.Tensor], list[float]]:
    """Weights after some steps, and the contrastive losses on the way."""
    engine, feed = make(folder, recipe)
    losses = [train_step(engine, feed[step], recipe, recipe.phases[0], 1e-3).contrastive for step in range(steps)]  # type: ignore[arg-type]
    return engine.state_tensors()[0], losses


def whole_run(folder: Path, out: Path) -> None:
    """A run of two steps through the loop, on the small corpus."""
    index, qa = corpus(), MemoryQa()
    with (
        mock.patch.object(loop.ShardIndex, "open", return_value=index),
        mock.patch.object(loop.QaTable, "open", return_value=qa),
    ):
        places = loop.Places(shards=out, qa=None, model=folder, out=out)
        loop.train(places, small_recipe(steps=2), NullTracker(), progress=lambda *_: None, means=loop.Means(num_workers=0))


def main() -> None:
    job, out = json.loads(sys.stdin.read()), Path(sys.argv[1])
    folder = Path(job["folder"])
    for name, stage in job.get("variants", []):
        found = trial(folder, variant(name, zero_stage=stage, chunk_tokens=job["chunk_tokens"]))
        if dist.get_rank() == 0:
            torch.save(found, out / f"{name}-{stage}.pt")
    if "train" in job:
        whole_run(folder, Path(job["train"]))
    for stage in job.get("stages", []):
        recipe = variant(
            "joint", zero_stage=stage, chunk_tokens=job["chunk_tokens"], kept_chunks=job["kept_chunks"] if stage < 3 else 0
        )
        recipe = replace(recipe, tower=job["tower"])
        found = gradients(folder, recipe)
        if dist.get_rank() == 0:
            torch.save(found, out / f"gradients-{stage}.pt")
        weights, losses = weights_after(folder, recipe, job["steps"])
        if dist.get_rank() == 0:
            torch.save({"weights": weights, "losses": losses}, out / f"run-{stage}.pt")


if __name__ == "__main__":
    main()
