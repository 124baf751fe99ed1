"""The forecast's operations and chunks: those that the log of a run says, and that torch counts."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch

from pipeline.batch import OWN, Batch, pack, truncate
from pipeline.model.adapters import Full, LoRA
from pipeline.model.embedder import Embedder
from pipeline.roles import Role
from pipeline.train.build import build_embedder
from pipeline.train.dataloader.held_out_work import HeldOutWork
from pipeline.train.dataloader.plan import Plan, PlannedSide
from pipeline.train.dataloader.step_work import pack_work
from pipeline.train.engine import Engine
from pipeline.train.flops import Cost, Flops
from pipeline.train.forecast.assumed_rows import Assumed
from pipeline.train.forecast.forecast import batch_work, forecast
from pipeline.train.forecast.gpus import GPUS
from pipeline.train.forecast.trace import outline_embedder
from pipeline.train.held_out import HeldOut
from tests.pipeline.train.counted import counting
from tests.pipeline.train.forecast.test_forecast import lora
from tests.pipeline.train.test_step_metrics import by_hand


@pytest.mark.parametrize("adapter", [LoRA(rank=8, alpha=8), Full()])
@pytest.mark.parametrize("tower", ["frozen", "trained"])
def test_the_forecast_s_work_is_what_the_log_says_and_torch_counts(
    model_folder: Path, adapter: LoRA | Full, tower: Literal["frozen", "trained"]
) -> None:
    """One chunk holds the whole batch: 8 queries, 8 positives and 4 conversations. Both passes of it, counted by torch."""
    recipe = lora(chunk_tokens=10**6).with_phase(adapter=adapter, tower=tower)
    assumed = Assumed(recipe=recipe, visual=9)
    rows = [row for row, number in assumed.counted() for _ in range(number)]
    assert Counter(len(row.sequence) for row in rows) == {162: 8, 153: 8, 290: 4}
    embedder, _ = build_embedder(model_folder, recipe, dtype=torch.float32)
    full, first = (pack(part, recipe.phase.layout, recipe.pooling.positions) for part in (rows, truncate(rows, Role.COMPRESSION)))
    passes = 3 if tower == "trained" else 1
    logged, cost = Cost.of(embedder), Cost.of(outline_embedder(model_folder, recipe))
    assert logged == cost
    logits = 2 * 32 * embedder.backbone.vocab_size * len(full.score_index) if isinstance(adapter, Full) else 0
    text, seen = really_counted(embedder, full), counted_tower(embedder, full.grid_thw)
    model = text - logits + by_hand(full, of_text=3, of_tower=0) + seen * passes
    # The pictures' patches are no one's inputs: the tower's first map has one gradient.
    model -= 2 * 32 * 1176 * int(full.grid_thw.prod(dim=-1).sum()) if passes == 3 else 0
    with counting(attention=False) as counted, torch.no_grad():
        embedder(replace(first, features=torch.zeros(len(first.image_index), 32)))
        again = counted() + by_hand(first, of_text=1, of_tower=0)
    # Conversations have no first pass.
    again += seen * 8 / 12 if passes == 3 else 0
    for kept_chunks, twice in ((0, 1), (1, 0)):
        told = Assumed(recipe=recipe.with_phase(kept_chunks=kept_chunks), visual=9)
        found = batch_work(cost, told, told.steps(1))
        assert (found.tokens, found.chunks) == (8 * 162 + 8 * 153 + 4 * 290, 1)
        assert (found.model, found.hardware) == (model, model + logits + twice * again)
        sides = tuple(PlannedSide(row=0, side_index=slot, slot=slot, loss_group=OWN, asks=True) for slot in (0, 1))
        plan = Plan(sides=sides, num_pairs=8, owners=(), contrastive_weight=1.0, language_weight=0.5)
        work = pack_work(rows, plan, told.recipe)
        assert logged.step(work.chunks, told.recipe.phase) == Flops(model=found.model, hardware=found.hardware)


def really_counted(embedder: Embedder, batch: Batch) -> float:
    """Operations but for attention's of a forward and a backward pass, with whatever that computes again."""
    with counting(attention=False) as counted:
        outputs = embedder(replace(batch, features=torch.zeros(len(batch.image_index), embedder.width)))
        (outputs.embeddings.sum() + outputs.token_losses.sum()).backward()
        return counted()


def counted_tower(embedder: Embedder, grids: torch.Tensor) -> float:
    """Operations of the tower, forward, attention included."""
    with counting(attention=True) as counted, torch.no_grad():
        embedder.backbone.features(torch.zeros(int(grids.prod(dim=-1).sum()), 1176), grids)
        return counted()


@pytest.mark.parametrize("tower", ["frozen", "trained"])
def test_the_forecast_s_held_out_look_is_what_torch_counts(model_folder: Path, tower: Literal["frozen", "trained"]) -> None:
    """3 queries, 3 positives and 3 conversations: a real look on one rank, with features in the place of pictures."""
    recipe = lora(chunk_tokens=700, held_out=3).with_phase(tower=tower)
    chunks, none = Assumed(recipe=recipe, visual=9).looks(1)[0], torch.zeros(6, dtype=torch.int64)
    embedder, _ = build_embedder(model_folder, recipe, dtype=torch.float32)
    cost = Cost.of(embedder)
    seen = [replace(c, compressed=replace(c.compressed, features=torch.zeros(len(c.compressed.image_index), 32))) for c in chunks]
    pictures = sum(counted_tower(embedder, chunk.compressed.grid_thw) for chunk in chunks if len(chunk.compressed.grid_thw))
    work = HeldOutWork(chunks=seen, num_pairs=3, items=none, owners=none[:0], units=torch.ones(2), unreadable=())
    engine = Engine(embedder, recipe.phase)
    with counting(attention=False) as counted:
        HeldOut(recipe.phase).evaluate(engine, work, seen[0].compressed)
        passes = counted()
    for chunk in chunks:
        assert chunk.full_spans is not None
        both = chunk.compressed, replace(chunk.compressed, spans=chunk.full_spans)
        passes += sum(by_hand(batch, of_text=1, of_tower=0) for batch in both)
    assert len(chunks) == 3 and cost.look(chunks, recipe.phase) == passes + pictures
    parted = recipe.with_phase(zero_stage=3).phase
    assert cost.look(chunks, parted) == passes + pictures * (2 if tower == "trained" else 1), "each pass calls the whole model"


def test_a_held_out_look_is_dealt_to_the_ranks(model_folder: Path) -> None:
    """64 pairs and 64 conversations on 1, 2 and 8 GPUs; a slice of none is no look."""
    recipe = lora(held_out=64)
    one, two, eight = (forecast(model_folder, recipe, GPUS["a800-80g"], gpus, visual=9).work.look for gpus in (1, 2, 8))
    assert two == pytest.approx(one / 2, rel=0.03) and eight == pytest.approx(one / 8, rel=0.03)
    assert forecast(model_folder, lora(held_out=0), GPUS["a800-80g"], 2, visual=9).work.look == 0.0


def test_ranks_are_dealt_all_rows_and_cut_them_as_training_does() -> None:
    """8 queries of 162, 8 positives of 153, 4 conversations of 290, over 2 ranks; at most 650 tokens a chunk."""
    steps = Assumed(recipe=lora(chunk_tokens=650), visual=9).steps(2)
    assert sum(len(chunk.full.slots) for step in steps for chunk in step) == 16
    packed = [[len(chunk.full.input_ids) for chunk in step] for step in steps]
    # Four of 153 (the 21 tokens of the head once), four of 162, two of 290.
    assert packed == [[4 * 132 + 21, 4 * 141 + 21, 2 * 269 + 21]] * 2
