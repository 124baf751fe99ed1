"""A recipe decides what is trained: everything marked moves, everything else stays bit for bit, weight decay or not."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.model.adapters import Full, LoRA
from pipeline.model.compression import Chorus
from pipeline.model.pooling import AttentionPool, MLPMean
from pipeline.phase import AdamW
from pipeline.recipe import Recipe
from pipeline.train.build import build_embedder
from pipeline.train.step import train_step
from tests.pipeline.corpus import small_recipe
from tests.pipeline.train.ranks import every_weight, make

TABLE = "backbone.model.model.language_model.embed_tokens.weight"


def moved(folder: Path, recipe: Recipe) -> tuple[set[str], set[str]]:
    """Names of the weights that two steps moved, and of those that stayed bit for bit."""
    engine, dataset = make(folder, recipe)
    before = {name: parameter.detach().clone() for name, parameter in every_weight(engine).items()}
    for step in range(2):
        train_step(engine, dataset[step], recipe.phase, 1e-2)  # type: ignore[arg-type]
    after = every_weight(engine)
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    return changed, set(before) - changed


def with_weight_decay(recipe: Recipe) -> Recipe:
    phase = replace(recipe.phase, optimizer=AdamW(weight_decay=0.1))
    return replace(recipe, phases=(phase,))


@pytest.mark.parametrize(("stage", "dtype"), [(0, "float32"), (2, "float32"), (2, "bfloat16")])
@pytest.mark.parametrize("tower", ["frozen", "trained"])
@pytest.mark.parametrize("adapter", [Full(), LoRA(rank=2, alpha=8)])
def test_what_is_marked_moves_and_nothing_else(
    model_folder: Path, adapter: Full | LoRA, tower: str, stage: int, dtype: str
) -> None:
    recipe = with_weight_decay(small_recipe(zero_stage=stage, dtype=dtype)).with_phase(adapter=adapter, tower=tower)
    changed, stayed = moved(model_folder, recipe)
    tower_weights = {name for name in changed | stayed if "visual" in name}
    assert tower_weights
    adapters = {name for name in changed | stayed if "lora_" in name}
    assert len(adapters) == (2 * 4 * 2 if isinstance(adapter, LoRA) else 0)  # A and B of q, k, v, o in two layers
    text = adapters or (changed | stayed) - tower_weights
    assert changed == text | {"bank.rows"} | (tower_weights if tower == "trained" else set())


@pytest.mark.parametrize("trained", ["rows", "table", "none"])
@pytest.mark.parametrize("pooling", [MLPMean(), AttentionPool()])
def test_rows_table_and_pooling_move_as_they_are_told(model_folder: Path, trained: str, pooling: MLPMean | AttentionPool) -> None:
    tokens = Chorus(count=4, trained=trained)
    recipe = replace(with_weight_decay(small_recipe()), tokens=tokens, pooling=pooling).with_phase(
        adapter=LoRA(rank=2), tower="frozen"
    )
    changed, stayed = moved(model_folder, recipe)
    pools = {name for name in changed | stayed if name.startswith("pooling.")}
    expected = {"rows": {"bank.rows"}, "table": {"bank.rows", TABLE}, "none": set()}[trained]
    assert pools and changed == {name for name in changed | stayed if "lora_" in name} | pools | expected


def test_the_papers_targets_leave_the_tower_alone(model_folder: Path) -> None:
    recipe = small_recipe().with_phase(adapter=LoRA(), tower="frozen")
    embedder, _ = build_embedder(model_folder, recipe, dtype=torch.float32)
    trained = [name for name, parameter in embedder.named_parameters() if parameter.requires_grad]
    assert trained and not any("visual" in name for name in trained)
