"""A recipe decides what is trained: everything marked moves, everything else stays bit for bit."""

from dataclasses import replace
from pathlib import Path

import torch

from pipeline.model.adapters import LoRA
from pipeline.recipe import AdamW, Recipe
from pipeline.train.build import build_embedder
from pipeline.train.step import train_step
from tests.pipeline.corpus import small_recipe
from tests.pipeline.train.ranks import make


def moved(folder: Path, recipe: Recipe) -> tuple[set[str], set[str]]:
    """Names of the weights that two steps moved, and of those that stayed bit for bit."""
    engine, feed = make(folder, recipe)
    before = {name: parameter.detach().clone() for name, parameter in engine.module.named_parameters()}
    for step in range(2):
        train_step(engine, feed[step], recipe, recipe.phases[0], 1e-3)  # type: ignore[arg-type]
    after = dict(engine.module.named_parameters())
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    return changed, set(before) - changed


def with_weight_decay(recipe: Recipe) -> Recipe:
    phase = replace(recipe.phases[0], optimizer=AdamW(weight_decay=0.1))
    return replace(recipe, phases=(phase,))


def test_full_training_moves_everything(model_folder: Path) -> None:
    changed, stayed = moved(model_folder, with_weight_decay(small_recipe()))
    assert not stayed and "bank.rows" in changed


def test_lora_moves_adapters_and_compression_rows_only(model_folder: Path) -> None:
    recipe = replace(with_weight_decay(small_recipe()), adapter=LoRA(rank=2, alpha=8), tower="frozen")
    changed, stayed = moved(model_folder, recipe)
    assert changed == {name for name in changed | stayed if "lora_" in name or name == "bank.rows"}
    assert len(changed) == 2 * 4 * 2 + 1  # A and B of q, k, v, o in two layers, and the rows


def test_the_papers_targets_leave_the_tower_alone(model_folder: Path) -> None:
    recipe = replace(small_recipe(), adapter=LoRA(), tower="frozen")
    embedder, _ = build_embedder(model_folder, recipe, dtype=torch.float32)
    trained = [name for name, parameter in embedder.named_parameters() if parameter.requires_grad]
    assert trained and not any("visual" in name for name in trained)
