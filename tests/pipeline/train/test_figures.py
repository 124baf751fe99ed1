"""Figures of a step by hand-worked numbers and by what torch itself counts."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pipeline.batch import Batch
from pipeline.recipe import Recipe
from pipeline.tracking import NullTracker
from pipeline.train.build import build_embedder, chorus_ids
from pipeline.train.feed import Feed
from pipeline.train.figures import Clock, Tally, figures_of, padded_positions, utilisation
from pipeline.train.flops import Cost, Flops
from pipeline.train.journal import Journal
from pipeline.train.opening import opening
from pipeline.train.step import StepReport
from pipeline.train.work import StepWork
from tests.pipeline.corpus import corpus, measured, small_recipe

TALLY = Tally(
    tokens=600.0,
    positions=400.0,
    padding=0.0,
    waited=1.0,
    model_flops=3e12,
    hardware_flops=4e12,
    cut_answers=2.0,
    asked_to_stop=0.0,
)


def work_of(folder: Path, recipe: Recipe) -> tuple[StepWork, Cost, torch.nn.Module]:
    embedder, opened = build_embedder(folder, recipe, dtype=torch.float32)
    vocabulary = opened.vocabulary(chorus_ids(opened, recipe))
    feed = Feed(measured(corpus(), recipe, vocabulary), recipe, recipe.phases[0], vocabulary)
    return feed.work(feed.draw(0), 0), Cost.of(embedder), embedder


def test_positions_that_no_attention_reads_are_padding() -> None:
    assert padded_positions(torch.tensor([0, 1, 2, 0, 1, 3]), 4) == 0
    assert padded_positions(torch.tensor([0, 1, 2, 0, 1, 3]), 7) == 3


def test_packed_rows_have_no_padding(model_folder: Path) -> None:
    work, _, _ = work_of(model_folder, small_recipe())
    batches = [batch for chunk in work.chunks for batch in (chunk.full, chunk.prefix) if batch is not None]
    assert len(batches) > 2
    assert all(padded_positions(batch.spans.gather, batch.input_ids.numel()) == 0 for batch in batches)


def test_rates_and_shares_by_hand(model_folder: Path) -> None:
    work, _, _ = work_of(model_folder, small_recipe())
    report = StepReport(1.0, 2.0, None, 0.5, 3.0)
    found = figures_of(report, work, Clock(2.0, 0.75), TALLY, num_ranks=2, device=torch.device("cpu"))
    assert found["pairs_per_second"] == 4.0 and found["tokens_per_second"] == 300.0
    assert found["cut_answers"] == 2.0 != work.num_cut, "of all ranks"
    assert found["data_wait_share"] == 0.25 and found["padding_share"] == 0.0
    assert found["own_language"] == 2.0 and "outside_language" not in found
    assert found["peak_memory_gib"] > 0.05 and not any("utilisation" in name for name in found)
    assert utilisation(TALLY, 4.0, 1e12) == {"model_flops_utilisation": 0.75, "hardware_flops_utilisation": 1.0}


def counted(embedder: torch.nn.Module, batch: Batch) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        embedder(batch)
    return float(counter.get_total_flops())


def test_operations_of_a_forward_pass_are_torchs_own_count(model_folder: Path) -> None:
    """But for attention, which torch does not count on a CPU."""
    work, cost, embedder = work_of(model_folder, small_recipe(chunk_tokens=10**6))
    (chunk,) = work.chunks
    expected = counted(embedder, chunk.full)
    assert sum(replace(cost, attention=0).forward(chunk.full)) == pytest.approx(expected, rel=0.02)
    lengths = chunk.full.spans.starts.diff().tolist()
    by_hand = sum(2 * 2 * length**2 * 32 for length in lengths)  # two layers of width 32, 2 n^2 d each
    assert sum(cost.forward(chunk.full)) - sum(replace(cost, attention=0).forward(chunk.full)) == by_hand


def test_what_is_computed_twice_counts_for_the_machine_only(model_folder: Path) -> None:
    recipe = small_recipe()
    phase = recipe.phases[0]
    work, cost, _ = work_of(model_folder, recipe)
    chunk = next(chunk for chunk in work.chunks if chunk.prefix is not None)
    kept, replayed = (cost.chunk(chunk, phase, is_kept=is_kept) for is_kept in (True, False))
    assert chunk.prefix is not None and replayed.model == kept.model
    assert kept.hardware - kept.model == 2 * cost.head * len(chunk.full.score_index) > 0, "logits are always computed again"
    assert replayed.hardware - kept.hardware == cost.forward(chunk.prefix)[0]
    assert cost.text_passes == 3 and cost.tower_passes == (1 if recipe.tower == "frozen" else 3)
    assert kept + replayed == Flops(model=2 * kept.model, hardware=kept.hardware + replayed.hardware)


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
