"""Figures of a step by hand-worked numbers and by what torch itself counts."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.model.adapters import Full, LoRA
from pipeline.recipe import Recipe
from pipeline.tracking import NullTracker
from pipeline.train import figures
from pipeline.train.build import build_embedder, chorus_ids
from pipeline.train.feed import Feed
from pipeline.train.figures import Clock, Tally, figures_of, utilisation
from pipeline.train.flops import Cost, Flops, peak_of
from pipeline.train.journal import Journal
from pipeline.train.opening import opening
from pipeline.train.step import StepReport
from pipeline.train.work import StepWork
from tests.pipeline.corpus import corpus, measured, small_recipe
from tests.pipeline.train.counted import counting

TALLY = Tally(
    tokens=600.0,
    waited=1.0,
    model_flops=3e12,
    hardware_flops=4e12,
    cut_answers=2.0,
    unreadable=3.0,
    asked_to_stop=0.0,
)


def work_of(folder: Path, recipe: Recipe) -> tuple[StepWork, Cost, torch.nn.Module]:
    embedder, opened = build_embedder(folder, recipe, dtype=torch.float32)
    vocabulary = opened.vocabulary(chorus_ids(opened, recipe))
    feed = Feed(measured(corpus(), recipe, vocabulary), recipe, recipe.phases[0], vocabulary)
    return feed.work(feed.draw(0), 0), Cost.of(embedder), embedder


def test_packed_rows_have_no_padding(model_folder: Path) -> None:
    work, _, _ = work_of(model_folder, small_recipe())
    batches = [batch for chunk in work.chunks for batch in (chunk.full, chunk.prefix) if batch is not None]
    assert len(batches) > 2
    for batch in batches:
        assert len(torch.unique(batch.spans.gather)) == batch.input_ids.numel(), "some attention reads every position"


def test_rates_and_shares_by_hand(model_folder: Path) -> None:
    work, _, _ = work_of(model_folder, small_recipe())
    report = StepReport(1.0, 2.0, None, 0.5, 3.0)
    found = figures_of(report, work, Clock(2.0, 0.75), TALLY, num_ranks=2, device=torch.device("cpu"))
    assert found["pairs_per_second"] == 4.0 and found["tokens_per_second"] == 300.0
    assert found["cut_answers"] == 2.0 != work.num_cut, "of all ranks"
    assert found["data_wait_share"] == 0.25
    assert found["own_language"] == 2.0 and "outside_language" not in found
    assert found["peak_memory_gib"] > 0.05 and not any("utilisation" in name for name in found)
    assert utilisation(TALLY, 4.0, 1e12) == {"model_flops_utilisation": 0.75, "hardware_flops_utilisation": 1.0}


def test_utilisation_is_of_all_ranks_together(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """3e12 and 4e12 operations in 2 seconds on two devices of 1e12 a second."""
    monkeypatch.setattr(figures, "peak_of", lambda device: 1e12)
    work, _, _ = work_of(model_folder, small_recipe())
    found = figures_of(
        StepReport(1.0, 2.0, None, 0.5, 3.0), work, Clock(2.0, 0.75), TALLY, num_ranks=2, device=torch.device("cpu")
    )
    assert (found["model_flops_utilisation"], found["hardware_flops_utilisation"]) == (0.75, 1.0)


def test_operations_of_a_forward_pass_are_torchs_own_count(model_folder: Path) -> None:
    """But for attention, which padding and the causal mask make another number: by hand."""
    work, cost, embedder = work_of(model_folder, small_recipe(chunk_tokens=10**6))
    (chunk,) = work.chunks
    with counting(attention=False) as counted, torch.no_grad():
        embedder(chunk.full)
    text, tower = replace(cost, attention=0, picture_attention=0).forward(chunk.full)
    assert text + tower == pytest.approx(counted(), rel=0.02)
    lengths = chunk.full.spans.starts.diff().tolist()
    by_hand = sum(2 * 2 * length**2 * 32 for length in lengths)  # two layers of width 32, 2 n^2 d each
    assert cost.forward(chunk.full)[0] - text == by_hand
    pictures = [int(grid.prod()) for grid in chunk.full.grid_thw]
    assert cost.forward(chunk.full)[1] - tower == sum(2 * 4 * patches**2 * 32 for patches in pictures)


def test_operations_of_a_large_picture_are_torchs_own_count(model_folder: Path) -> None:
    """1,296 patches: three quarters of the tower's work is attention, and no part of it can be wrong by a factor."""
    work, cost, embedder = work_of(model_folder, small_recipe())
    grid = torch.tensor([[1, 36, 36]])
    with counting(attention=True) as counted, torch.no_grad():
        embedder.backbone.features(torch.zeros(36 * 36, 1176), grid)  # type: ignore[union-attr,operator]
    assert cost.forward(replace(work.chunks[0].full, grid_thw=grid))[1] == pytest.approx(counted(), rel=0.005)


def test_weights_that_a_token_meets_by_hand(model_folder: Path) -> None:
    """Two layers of width 32: q, o, k and v (half as wide), three maps of the MLP; beside them biases and norms."""
    recipe = small_recipe()
    layer = (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64) + (32 + 16 + 16 + 2 * 32)
    found = {}
    for adapter, tower in ((Full(), "trained"), (LoRA(rank=8), "frozen")):
        _, cost, embedder = work_of(model_folder, replace(recipe, adapter=adapter, tower=tower))
        assert (cost.text, cost.head, cost.attention) == (2 * layer, 32 * len(table_of(embedder)), 2 * 32), "adapters left out"
        assert cost.picture_attention == 2 * 32
        found[tower] = (cost.text_passes, cost.tower_passes)
    assert found == {"trained": (3, 3), "frozen": (2, 1)}


def table_of(embedder: torch.nn.Module) -> torch.Tensor:
    weight: torch.Tensor = embedder.backbone.text.embed_tokens.weight  # type: ignore[union-attr,assignment]
    return weight


def test_passes_of_a_chunk_by_hand(model_folder: Path) -> None:
    """Three passes where weights are trained, two under adapters, one of a frozen tower; replays for the machine only."""
    recipe = small_recipe()
    work, cost, _ = work_of(model_folder, recipe)
    chunk = next(chunk for chunk in work.chunks if chunk.prefix is not None and len(chunk.full.grid_thw))
    assert chunk.prefix is not None
    (text, tower), (first, seen) = cost.forward(chunk.full), cost.forward(chunk.prefix)
    logits = 2 * cost.head * len(chunk.full.score_index)
    assert min(text, tower, first, seen, logits) > 0 and cost.head_again == 1
    phase, adapted = recipe.phases[0], replace(cost, text_passes=2, tower_passes=1, head_again=0)
    cheap, anew = replace(phase, gradient_checkpointing=True), replace(phase, features="recomputed")
    needed = 3 * text + 3 * tower
    assert cost.chunk(chunk, phase, is_kept=True) == Flops(model=needed, hardware=needed + logits)
    assert cost.chunk(chunk, phase, is_kept=False) == Flops(model=needed, hardware=needed + logits + first + seen)
    assert cost.chunk(chunk, cheap, is_kept=True) == Flops(model=needed, hardware=needed + text)
    needed = 2 * text + tower
    assert adapted.chunk(chunk, phase, is_kept=True) == Flops(model=needed, hardware=needed)
    assert adapted.chunk(chunk, phase, is_kept=False) == Flops(model=needed, hardware=needed + first)
    assert adapted.chunk(chunk, anew, is_kept=False) == Flops(model=needed, hardware=needed + first + seen)
    assert adapted.chunk(chunk, cheap, is_kept=True) == Flops(model=needed, hardware=needed + text - logits)
    assert Flops(model=1.0, hardware=2.0) + Flops(model=3.0, hardware=5.0) == Flops(model=4.0, hardware=7.0)


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
    journal = Journal(tmp_path / "new" / "metrics.jsonl", NullTracker())
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
    said = opening(work, recipe, recipe.phases[0], 2)
    assert "8 pairs in one-dataset runs of 4 and 4 conversations" in said and "2 rank(s)" in said
    assert f"{len(work.chunks)} chunks" in said and f"{len(work.chunks) - 1} of them replayed" in said
    assert "\n" not in said
