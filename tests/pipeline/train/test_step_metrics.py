"""Figures of a step by hand-worked numbers and by what torch itself counts."""

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import torch

from data_prep.tiny_model import TILE_PIXELS, build_tiny_model
from pipeline.batch import Batch
from pipeline.model.adapters import Full, LoRA
from pipeline.model.shrinkers import Bilinear, KeepAll, Shrinker
from pipeline.model.tiles import Tiles
from pipeline.recipe import Family, Recipe
from pipeline.tracking import NullTracker
from pipeline.train import step_metrics
from pipeline.train.build import build_embedder, chorus_ids
from pipeline.train.dataloader.step_dataset import StepDataset
from pipeline.train.dataloader.step_work import StepWork
from pipeline.train.engine import linear_as_run
from pipeline.train.flops import Cost, Flops, Passes, peak_of
from pipeline.train.metrics_log import MetricsLog
from pipeline.train.run_header import opening
from pipeline.train.step import StepReport
from pipeline.train.step_metrics import Clock, Tally, figures_of, tally, utilisation
from pipeline.train.vision_features import with_features
from tests.pipeline.corpus import SMALL, TEXTS, corpus, measured, small_recipe
from tests.pipeline.train.counted import counting
from tests.pipeline.variants import whole_table_under_lora

TALLY = Tally(
    tokens=600.0,
    waited=1.0,
    model_flops=3e12,
    hardware_flops=4e12,
    cut_answers=2.0,
    unanswered=4.0,
    unreadable=3.0,
    asked_to_stop=0.0,
    own=(0.5, 1.5),
)


def work_of(folder: Path, recipe: Recipe) -> tuple[StepWork, Cost, torch.nn.Module]:
    embedder, opened = build_embedder(folder, recipe, dtype=torch.float32)
    vocabulary = opened.vocabulary(chorus_ids(opened, recipe))
    dataset = StepDataset(measured(corpus(), recipe, vocabulary), recipe, vocabulary)
    return dataset.work(dataset.draw(0), 0), Cost.of(embedder), embedder


def test_packed_rows_have_no_padding(model_folder: Path) -> None:
    work, _, _ = work_of(model_folder, small_recipe())
    batches = [batch for chunk in work.chunks for batch in (chunk.full, chunk.prefix) if batch is not None]
    assert len(batches) > 2
    for batch in batches:
        assert len(torch.unique(batch.spans.gather)) == batch.input_ids.numel(), "some attention reads every position"


def test_rates_and_shares_by_hand(model_folder: Path) -> None:
    work, _, _ = work_of(model_folder, small_recipe())
    report = StepReport(1.0, 2.0, None, 0.5, 3.0, 6)
    found = figures_of(report, work, Clock(2.0, 0.75, 0.5), TALLY, num_ranks=2, device=torch.device("cpu"))
    assert found["pairs_per_second"] == 3.0 and found["pairs"] == 6.0 < work.num_pairs and found["tokens_per_second"] == 300.0
    assert found["unanswered"] == 4.0
    assert found["cut_answers"] == 2.0 != work.num_cut, "of all ranks"
    assert found["data_wait_share"] == 0.25
    assert found["own_language"] == 2.0 and "outside_language" not in found
    assert found["peak_memory_gib"] > 0.05 and not any("utilisation" in name for name in found)
    assert utilisation(TALLY, 4.0, 1e12) == {"model_flops_utilisation": 0.75, "hardware_flops_utilisation": 1.0}


def test_each_rank_s_own_seconds_keep_their_place(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank 1 waited 0.75 s for its data and computed 0.5; rank 0 says 0.25 in all, and 100 tokens."""
    work, _, _ = work_of(model_folder, small_recipe())
    others = torch.tensor([100.0, *[0.0] * 7, 0.25, 0.0], dtype=torch.float64)
    monkeypatch.setattr(step_metrics, "sum_over_ranks", lambda own: own + others)
    engine: Any = SimpleNamespace(rank=1, num_ranks=2, device=torch.device("cpu"))
    found = tally(work, Clock(2.0, 0.75, 0.5), Flops(model=1.0, hardware=2.0), engine=engine, asked_to_stop=False)
    assert found.own == (0.25, 1.25) and found.tokens == work.num_tokens + 100 and found.asked_to_stop == 0.0


def test_utilisation_is_of_all_ranks_together(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """3e12 and 4e12 operations in 2 seconds on two devices of 1e12 a second."""
    monkeypatch.setattr(step_metrics, "peak_of", lambda device: 1e12)
    work, _, _ = work_of(model_folder, small_recipe())
    found = figures_of(
        StepReport(1.0, 2.0, None, 0.5, 3.0, 6), work, Clock(2.0, 0.75, 0.5), TALLY, num_ranks=2, device=torch.device("cpu")
    )
    assert (found["model_flops_utilisation"], found["hardware_flops_utilisation"]) == (0.75, 1.0)


def by_hand(batch: Batch, *, of_text: int, of_tower: int) -> float:
    """Attention of the small model, so often: 4 operations a query, a key it sees and a number of its width, 32 in two layers."""
    texts = sum(n * (n + 1) // 2 for n in batch.spans.cu_seqlens.diff().tolist())
    pictures = sum(int(grid.prod()) ** 2 for grid in batch.grid_thw)
    return float(4 * 32 * 2 * (of_text * texts + of_tower * pictures))


def counted_pass(embedder: torch.nn.Module, batch: Batch) -> float:
    """Operations, but for attention's, of a chunk forward and backward, by torch's own count of the real modules."""
    with counting(attention=False) as counted:
        trained = any(weight.requires_grad for weight in embedder.backbone.tower.parameters())  # type: ignore[union-attr]
        tower = None if trained else embedder.release_tower(torch.device("cpu"), torch.float32)  # type: ignore[operator]
        outputs = embedder(batch if tower is None else with_features(batch, tower(batch)))
        (outputs.embeddings.sum() + outputs.token_losses.sum()).backward()
        return counted()


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("adapter", [Full(), LoRA(rank=8, targets=("q_proj", "down_proj")), LoRA(rank=4)])
@pytest.mark.parametrize("tower", ["trained", "frozen"])
def test_operations_of_a_chunk_are_torchs_own_count(
    model_folder: Path, adapter: Full | LoRA, tower: Literal["trained", "frozen"], checkpointing: bool
) -> None:
    recipe = small_recipe(chunk_tokens=10**6).with_phase(adapter=adapter, tower=tower)
    work, cost, embedder = work_of(model_folder, recipe)
    (chunk,) = work.chunks
    if checkpointing:
        embedder.train().checkpoint_layers()  # type: ignore[operator]
    found = cost.chunk(chunk, replace(recipe.phase, gradient_checkpointing=checkpointing), is_kept=True)
    passes = 3 + checkpointing
    attention = by_hand(chunk.full, of_text=passes, of_tower=passes if tower == "trained" else 1)
    with linear_as_run(recipe.phase):
        assert found.hardware == counted_pass(embedder, chunk.full) + attention
    logits = 2.0 * len(chunk.full.score_index) * table_of(embedder).numel()
    twice = logits if isinstance(adapter, Full) else 0.0
    assert checkpointing or found.model == found.hardware - twice


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_operations_of_dora_are_torchs_own_count(model_folder: Path, dropout: float, checkpointing: bool) -> None:
    """Two layers of q (32 to 32) and of the MLP's last map (64 to 32), whose rows' lengths PEFT takes of B A, rank 4, times 1."""
    adapter = LoRA(rank=4, dora=True, dropout=dropout, targets=("q_proj", "down_proj"))
    recipe = small_recipe(chunk_tokens=10**6).with_phase(adapter=adapter, tower="frozen")
    work, cost, embedder = work_of(model_folder, recipe)
    (chunk,) = work.chunks
    if checkpointing:
        embedder.train().checkpoint_layers()  # type: ignore[operator]
    found = cost.chunk(chunk, replace(recipe.phase, gradient_checkpointing=checkpointing), is_kept=True)
    lengths = 2 * 2 * 4 * (32 * (32 + 32) + 64 * (64 + 32)) * (1 + checkpointing)
    attention = by_hand(chunk.full, of_text=3 + checkpointing, of_tower=1)
    with linear_as_run(recipe.phase):
        assert found.hardware == counted_pass(embedder.train(), chunk.full) + attention - lengths


def test_a_trained_table_that_is_the_head_costs_its_gradient_under_adapters(model_folder: Path) -> None:
    """The layers' weights have none, the head's have, and its logits are computed twice."""
    work, cost, embedder = work_of(model_folder, whole_table_under_lora(small_recipe(chunk_tokens=10**6)))
    (chunk,) = work.chunks
    found = cost.chunk(chunk, small_recipe().phase, is_kept=True)
    assert found.hardware - by_hand(chunk.full, of_text=3, of_tower=1) == counted_pass(embedder, chunk.full)


def test_operations_of_a_large_picture_are_torchs_own_count(model_folder: Path) -> None:
    """1,296 patches: three quarters of the tower's work is attention, and no part of it can be wrong by a factor."""
    work, cost, embedder = work_of(model_folder, small_recipe())
    grid = torch.tensor([[1, 36, 36]])
    with counting(attention=True) as counted, torch.no_grad():
        embedder.backbone.features(torch.zeros(36 * 36, 1176), grid)  # type: ignore[union-attr,operator]
    assert cost.tower(replace(work.chunks[0].full, grid_thw=grid)).forward == counted()


def test_attention_inside_windows_is_torchs_own_count(model_folder: Path, tmp_path: Path) -> None:
    """Qwen2.5-VL: windows of 4 x 4 patches, of which some are cut; one layer sees the whole picture."""
    work, _, _ = work_of(model_folder, small_recipe())
    build_tiny_model(tmp_path, TEXTS, replace(SMALL, family="qwen2_5_vl"), seed=0)
    embedder, _ = build_embedder(tmp_path, small_recipe(), dtype=torch.float32)
    cost, grid = Cost.of(embedder), torch.tensor([[1, 10, 14], [1, 6, 8]])
    with counting(attention=True) as counted, torch.no_grad():
        embedder.backbone.features(torch.zeros(10 * 14 + 48, 1176), grid)
    assert cost.shape.window == 4 and min(cost.window_pair.forward, cost.picture_pair.forward) > 0
    assert cost.tower(replace(work.chunks[0].full, grid_thw=grid)).forward == counted()


@pytest.mark.parametrize("shrinker", [KeepAll(), Bilinear(2.0)], ids=str)
@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl", "internvl"])
def test_operations_of_every_familys_tower_are_torchs_own_count(family: Family, shrinker: Shrinker, tmp_path: Path) -> None:
    """Mergers and projector meet what a shrinker leaves; levels have a merger each; a tile has one more token."""
    build_tiny_model(tmp_path, TEXTS, replace(SMALL, family=family, layers=3, tower_layers=3), seed=0)
    recipe = replace(small_recipe(), vision=shrinker)
    grid, inputs = torch.tensor([[1, 10, 14], [1, 6, 8]]), torch.zeros(10 * 14 + 48, 1176)
    if family == "internvl":
        recipe = replace(recipe, pixels=Tiles(side=TILE_PIXELS))
        grid, inputs = torch.tensor([[3, 4, 4], [1, 4, 4]]), torch.zeros(4, 3, TILE_PIXELS, TILE_PIXELS)
    embedder, _ = build_embedder(tmp_path, recipe, dtype=torch.float32)
    with counting(attention=True) as counted, torch.no_grad():
        embedder.backbone.features(inputs, grid)
    assert Cost.of(embedder).pictures(grid).forward == counted()


def test_weights_that_a_token_meets_by_hand(model_folder: Path) -> None:
    """Two layers of width 32: q, o, k and v (half as wide), three maps of the MLP; adapters of rank 8 beside q, k, v and o."""
    layer = 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64
    adapters = 8 * (2 * (32 + 32) + 2 * (32 + 16))
    _, full, embedder = work_of(model_folder, small_recipe().with_phase(adapter=Full(), tower="trained"))
    head = 2 * 32 * len(table_of(embedder))
    # The last map of an MLP does not run again.
    assert full.token == Passes(2 * 2 * layer, 2 * 2 * 2 * layer, 2 * 2 * (layer - 32 * 64))
    assert full.score == Passes(head, 2 * head, head) and full.tower_trains
    _, lora, _ = work_of(model_folder, small_recipe().with_phase(adapter=LoRA(rank=8), tower="frozen"))
    assert lora.token.forward == 2 * 2 * (layer + adapters) and lora.token.backward == 2 * 2 * (layer + 2 * adapters)
    assert lora.score == Passes(head, head, 0) and lora.patch.backward == lora.picture_pair.backward == 0


def table_of(embedder: torch.nn.Module) -> torch.Tensor:
    weight: torch.Tensor = embedder.backbone.text.embed_tokens.weight  # type: ignore[union-attr,assignment]
    return weight


def test_passes_of_a_step_by_hand(model_folder: Path) -> None:
    """First passes of the chunks that keep none; a tower sees them where it is trained or its features are made anew."""
    recipe = small_recipe()
    work, cost, _ = work_of(model_folder, recipe)
    chunk = next(chunk for chunk in work.chunks if chunk.prefix is not None and len(chunk.full.grid_thw))
    assert chunk.prefix is not None
    first, seen = cost.text(chunk.prefix).forward, cost.tower(chunk.prefix).forward
    assert min(first, seen) > 0 and len(chunk.prefix.score_index) == 0
    phase, frozen = recipe.phase, replace(cost, tower_trains=False)
    kept = cost.chunk(chunk, phase, is_kept=True)
    assert cost.chunk(chunk, phase, is_kept=False) == Flops(model=kept.model, hardware=kept.hardware + first + seen)
    assert frozen.chunk(chunk, phase, is_kept=False).hardware == kept.hardware + first
    anew = replace(phase, features="recomputed")
    assert frozen.chunk(chunk, anew, is_kept=False).hardware == kept.hardware + first + seen
    assert cost.step([chunk] * 3, replace(phase, kept_chunks=2)) == Flops(
        model=3 * kept.model, hardware=3 * kept.hardware + first + seen
    )


@pytest.mark.parametrize(
    ("name", "teraflops"),
    [
        ("NVIDIA A800-SXM4-80GB", 312),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA A100-PCIE-40GB", 312),
        ("NVIDIA L40S", 362),
        ("T4", None),
    ],
)
def test_peaks_by_the_names_that_drivers_give(monkeypatch: pytest.MonkeyPatch, name: str, teraflops: float | None) -> None:
    """Dense bfloat16 of the makers' data sheets."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert peak_of(torch.device("cuda")) == (None if teraflops is None else teraflops * 1e12)
    assert peak_of(torch.device("cpu")) is None


def test_the_journal_goes_on_and_holds_no_nan(tmp_path: Path) -> None:
    journal = MetricsLog(tmp_path / "new" / "metrics.jsonl", NullTracker())
    for step in (1, 2, 3):
        journal.write(step, {"a": step / 2, "b": math.nan if step == 2 else 1.0})
    with journal.file.open("a") as file:
        file.write('{"step": 4, "a')
    journal.go_on_from(2)
    assert [json.loads(line) for line in journal.file.read_text().splitlines()] == [
        {"step": 1, "a": 0.5, "b": 1.0}, {"step": 2, "a": 1.0},
    ]  # fmt: skip


def test_the_opening_tells_the_four_numbers_apart(model_folder: Path) -> None:
    recipe = small_recipe(kept_chunks=1)
    work, _, _ = work_of(model_folder, recipe)
    said = opening(work, recipe, recipe.phase, 2, 3)
    assert "8 pairs in one-dataset runs of 4 and 4 conversations" in said and "2 rank(s)" in said
    assert f"{len(work.chunks)} chunks" in said and f"{len(work.chunks) - 1} of them replayed" in said
    assert "\n" not in said
