"""The smallest toy pipeline, what an unbroken run of it makes, and whether another run made the same."""

import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from pipeline.model.compression import Chorus
from pipeline.recipe import Recipe, TinyBackbone, ToyWorld
from pipeline.recipes import load
from pipeline.train import checkpoint

STEPS = 6
FIGURES = ("contrastive", "own_language", "outside_language")


def toy_recipe() -> Recipe:
    """Six steps of a two-layer model over some three hundred pictures, with a checkpoint after every second."""
    tiny = load("tiny")
    backbone = TinyBackbone(
        hidden=32, layers=2, heads=4, kv_heads=2, feed_forward=64, vocab_size=600, tower_dim=32, tower_layers=2, tower_heads=2
    )
    phase = replace(
        tiny.phase,
        steps=STEPS,
        mixture=replace(tiny.phase.mixture, pairs=8, sub_batch=4, outside=4, weights=()),
        language_weight=0.5,
        held_out=4,
        zero_stage=0,
        chunk_tokens=400,
        kept_chunks=0,
        evaluate_every=STEPS,
        checkpoint_every=2,
        keep_checkpoints=3,
    )
    toy = ToyWorld(seed=1, train_rows=56, eval_rows=60, conversations=60, mcq_rows=64)
    tokens = Chorus(count=4, start="random")
    return replace(tiny, name="drill", backbone=backbone, tokens=tokens, toy=toy, phases=(phase,))


def steps_noted(work: Path) -> int:
    """Steps in the training's log so far."""
    file = work / "train" / "metrics.jsonl"
    return len(file.read_bytes().splitlines()) if file.exists() else 0


def difference(work: Path, unbroken: Path) -> str:
    """What is not as in the unbroken run: weights and moments of the newest checkpoint and losses of every step, bit for bit."""
    got, expected = (checkpoint.steps(folder / "train" / "checkpoints") for folder in (work, unbroken))
    if not got or got[0].name != expected[0].name:
        return f"the newest checkpoint is {got[0].name if got else 'none'}, not {expected[0].name}"
    for file in sorted(expected[0].glob("*.safetensors")):
        mine, theirs = load_file(got[0] / file.name), load_file(file)
        unequal = [name for name in theirs if name not in mine or not torch.equal(mine[name], theirs[name])]
        if unequal:
            return f"{file.name}: {unequal[0]} and {len(unequal) - 1} more are not equal"
    return "" if _losses(work) == _losses(unbroken) else "losses of the log are not equal"


def _losses(work: Path) -> dict[int, list[float | None]]:
    lines = (work / "train" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return {entry["step"]: [entry.get(name) for name in FIGURES] for entry in map(json.loads, lines)}
