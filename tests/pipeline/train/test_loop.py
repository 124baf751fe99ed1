"""A stopped and resumed run equals the unbroken one bit for bit; what is truncated or foreign is refused by name."""

import gc
import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from deepspeed import DeepSpeedEngine

import pipeline.train.loop as loop
from pipeline.errors import CheckpointError, ConfigError, DataError, PipelineError
from pipeline.inference import load_model
from pipeline.recipe import Recipe
from pipeline.sample import Side
from pipeline.targets import Dialogue, OtherSide
from pipeline.tracking import NullTracker
from pipeline.train import checkpoint
from pipeline.train.dataloader.step_work import StepWork
from pipeline.train.engine import Engine
from pipeline.train.loop import train
from pipeline.train.run_header import opening
from pipeline.train.run_options import RunOptions, TrainingPaths
from pipeline.train.schedule import learning_rate
from tests.pipeline.corpus import MemoryIndex, MemoryQa, corpus, small_recipe
from tests.pipeline.train.ranks import make

IN_PROCESS = RunOptions(num_workers=0)
CLOCKS = ("seconds", "pairs_per_second", "tokens_per_second", "data_wait_share", "peak_memory_gib")
OF_RANKS = ("slowest_rank", "slowest_rank_seconds", "median_rank_seconds")


@pytest.fixture(autouse=True)
def corpus_in_memory(monkeypatch: pytest.MonkeyPatch) -> MemoryIndex:
    index = corpus()
    monkeypatch.setattr(loop.ShardIndex, "open", classmethod(lambda cls, folder: index))
    monkeypatch.setattr(loop.QaTable, "open", classmethod(lambda cls, folder, kind: MemoryQa()))
    return index


def run(out: Path, model: Path, recipe: Recipe, stop_after: int | None = None) -> Path:
    paths = TrainingPaths(shards=out, qa=None, model=model, out=out)
    return train(paths, recipe, NullTracker(), progress=lambda *_: None, options=IN_PROCESS, stop_after=stop_after)


def figures(out: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in CLOCKS + OF_RANKS} for line in lines]


@pytest.mark.parametrize("stage", [1, 2])
def test_a_training_that_ended_leaves_nothing_in_memory(tmp_path: Path, model_folder: Path, stage: int) -> None:
    """The phases of one process follow each other: DeepSpeed's hooks kept each one's weights and moments. Stage 3 still does."""

    def engines() -> int:
        gc.collect()
        return sum(type(each) is DeepSpeedEngine for each in gc.get_objects())

    before = engines()
    for stop_after in (1, None):
        run(tmp_path / "t", model_folder, small_recipe(steps=2, zero_stage=stage), stop_after)
        assert engines() == before


@pytest.mark.parametrize(("stage", "dtype"), [(0, "float32"), (1, "float32"), (1, "bfloat16"), (2, "float32"), (3, "float32")])
def test_a_resumed_run_equals_the_unbroken_one_bit_for_bit(tmp_path: Path, model_folder: Path, stage: int, dtype: str) -> None:
    """At stage 3 the first chunks of a step, and the row that a resume begins with, have no part in the trained tower."""
    budget = 100 if stage == 3 else 400
    recipe = small_recipe(zero_stage=stage, dtype=dtype, evaluate_every=2, checkpoint_every=3, chunk_tokens=budget)
    whole = run(tmp_path / "whole", model_folder, recipe)
    run(tmp_path / "broken", model_folder, recipe, stop_after=4)
    resumed = run(tmp_path / "broken", model_folder, recipe)
    assert figures(tmp_path / "whole") == figures(tmp_path / "broken")
    for read in (checkpoint.weights, checkpoint.optimizer_state):
        expected, found = read(whole), read(resumed)
        assert set(expected) == set(found)
        assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())


def test_training_learns_and_reports_the_held_out_slice(tmp_path: Path, model_folder: Path) -> None:
    recipe = small_recipe(steps=60, evaluate_every=60, checkpoint_every=100)
    run(tmp_path, model_folder, recipe)
    lines = figures(tmp_path)
    assert lines[-1]["own_language"] < 0.85 * lines[0]["own_language"]
    held_out = {name for name in lines[-1] if name.startswith("held_out/")}
    assert held_out == {
        "held_out/contrastive", "held_out/precision_at_1",
        "held_out/own_language_full", "held_out/own_language_compressed",
        "held_out/outside_language_full", "held_out/outside_language_compressed",
    }  # fmt: skip


class Notes(NullTracker):
    """Keeps what is noted, and the figures by step."""

    def __init__(self) -> None:
        self.params: dict[str, object] = {}
        self.metrics: dict[int, Mapping[str, float]] = {}

    def log_metrics(self, metrics: Mapping[str, float], *, step: int) -> None:
        self.metrics[step] = metrics

    def log_params(self, params: Mapping[str, object]) -> None:
        self.params |= params


def test_a_phase_reads_the_kind_of_turns_that_its_target_needs(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A phase that asks pairs nothing opens what it always did: its data fingerprint stays."""
    opened: list[str] = []

    def noted(cls: type, folder: Path, kind: str) -> MemoryQa:
        opened.append(kind)
        raise DataError("seen")

    monkeypatch.setattr(loop.QaTable, "open", classmethod(noted))
    asked = small_recipe(target=Dialogue())
    silent = asked.with_phase(mixture=replace(asked.phase.mixture, own_sides=()))
    for recipe in (asked, small_recipe(), silent, small_recipe(target=OtherSide())):
        with pytest.raises(DataError, match="seen"):
            run(tmp_path, model_folder, recipe)
    assert opened == ["dialogue", "qa", "qa", "qa"]


def test_rows_over_the_cap_are_listed_and_never_stop_the_run(
    tmp_path: Path, model_folder: Path, corpus_in_memory: MemoryIndex, caplog: pytest.LogCaptureFixture
) -> None:
    for row in (2, 27, 30):
        corpus_in_memory.samples[row] = replace(corpus_in_memory.samples[row], positive=Side(text="red " * 600))
    tracker, out = Notes(), tmp_path / "train"
    paths = TrainingPaths(shards=out, qa=None, model=model_folder, out=out)
    with caplog.at_level(logging.WARNING):
        train(paths, small_recipe(), tracker, progress=lambda *_: None, options=IN_PROCESS)
    assert tracker.params.items() >= {"rows": 72, "rows_over_max_length": 3}.items()
    (listed,) = (tmp_path / "lengths").glob("*-over-512.jsonl")
    assert [json.loads(line)["key"] for line in listed.read_text().splitlines()] == ["pictures-2", "texts-3", "texts-6"]
    assert "3 of 72 rows are left out, most for passing max_length = 512" in caplog.text and str(listed) in caplog.text
    assert len(figures(out)) == 6


OF_EVERY_STEP = {
    "step", "contrastive", "own_language", "outside_language", "precision_at_1", "pairs", "gradient_norm", "learning_rate",
    "temperature", "seconds", "pairs_per_second", "tokens_per_second", "data_wait_share", "peak_memory_gib", "chunks",
    "kept_chunks", "attention_kernel", "cut_answers", "unanswered", "unreadable", "skipped_steps",
}  # fmt: skip
"""Utilisations beside them, where the device's peak is known."""


def test_every_step_s_figures_go_to_the_file_and_to_the_tracker(
    tmp_path: Path, model_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, loop.__name__)
    recipe, tracker = small_recipe(steps=3, evaluate_every=9, held_out=0), Notes()
    paths = TrainingPaths(shards=tmp_path, qa=None, model=model_folder, out=tmp_path)
    train(paths, recipe, tracker, progress=lambda *_: None, options=IN_PROCESS)
    lines = [json.loads(line) for line in paths.metrics.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3] and all(set(line) == OF_EVERY_STEP for line in lines)
    for number, line in enumerate(lines):
        assert (line["temperature"], line["skipped_steps"]) == (recipe.phase.contrastive.temperature, 0.0)
        assert line["learning_rate"] == learning_rate(number, recipe.phase)
        assert tracker.metrics[number + 1] == {f"train/{name}": value for name, value in line.items() if name != "step"}
    drawn = str(tracker.params["mixture"])
    assert drawn in caplog.text and "MMEB-train: 0 of 20 sets; not in the shards: ImageNet_1K, " in drawn
    assert "pairs are drawn from pictures 50.0%, texts 50.0%" in drawn and "conversations are drawn from talks 100.0%" in drawn
    why = "the kernel is for half precision on a GPU, not for float32 on cpu"
    assert tracker.params["attention"] == f"one call for each length of sequences ({why})"
    assert f"attention: {tracker.params['attention']}" in caplog.text and {line["attention_kernel"] for line in lines} == {0.0}
    said = str(tracker.params["step"])
    assert "8 pairs in one-dataset runs of 4 and 4 conversations" in said and "1 rank(s)" in said and "chunks" in said
    assert "ZeRO 0 (gradients are reduced once a step)" in said


@pytest.mark.parametrize(
    ("asked", "dtype", "said"),
    [
        (0, "bfloat16", "ZeRO 0, run as 1 (gradients are reduced once a step)"),
        (1, "bfloat16", "ZeRO 1 (gradients are reduced once a step)"),
        (2, "float32", "ZeRO 2 (gradients are reduced once a chunk)"),
    ],
)
def test_the_first_line_says_which_stage_runs(model_folder: Path, asked: int, dtype: str, said: str) -> None:
    recipe = small_recipe(zero_stage=asked, dtype=dtype)
    _, dataset = make(model_folder, small_recipe())
    work = dataset.work(dataset.draw(0), 0)
    assert f"; 2 rank(s), {said}, 3 loader process(es)" in opening(work, recipe, recipe.phase, 2, 3)


@pytest.mark.parametrize(
    ("mixture", "message"),
    [
        ({"weights": (("textt", 2.0),)}, r"mixture.weights: 'textt' not in the shards"),
        ({"outside_sets": ("texts",)}, r"mixture.outside_sets: 'texts' not in the shards; there are talks"),
        ({"pairs": 64, "sub_batch": 4}, r"mixture: 16 runs of 4 different rows a step do not fit the data"),
    ],
)
def test_a_mixture_that_the_data_cannot_fill_is_refused_before_the_model_loads(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch, mixture: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(loop, "build_embedder", lambda *given, **named: pytest.fail("the model was loaded"))
    recipe = small_recipe()
    phase = replace(recipe.phase, mixture=replace(recipe.phase.mixture, **mixture))
    with pytest.raises(ConfigError, match=message):
        run(tmp_path, model_folder, replace(recipe, phases=(phase,)))


def test_a_hint_names_the_phase_that_is_trained(tmp_path: Path, model_folder: Path) -> None:
    recipe = small_recipe()
    second = replace(recipe.phase, name="second", mixture=replace(recipe.phase.mixture, weights=(("textt", 2.0),)))
    with pytest.raises(ConfigError, match=r"^phases\.1\.mixture\.weights: 'textt' .* --set phases\.1\.mixture\.weights=\[\]$"):
        run(tmp_path, model_folder, replace(recipe, phases=(recipe.phase, second)))


def test_a_truncated_checkpoint_is_refused_by_name_and_the_one_before_is_taken(
    tmp_path: Path, model_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = small_recipe(checkpoint_every=2)
    last = run(tmp_path, model_folder, recipe)
    weights = last / checkpoint.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=f"{last.name}: weights.safetensors is missing or truncated"):
        checkpoint.read_state(last)
    with caplog.at_level(logging.WARNING):
        again = run(tmp_path, model_folder, recipe)
    assert str(last) in caplog.text and checkpoint.read_state(again).step == 6
    assert [line["step"] for line in figures(tmp_path)] == [1, 2, 3, 4, 5, 6]


def test_a_checkpoint_of_another_recipe_is_not_resumed(
    tmp_path: Path, model_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path, model_folder, small_recipe(), stop_after=2)
    other = replace(small_recipe(), seed=7)
    with caplog.at_level(logging.WARNING):
        run(tmp_path, model_folder, other, stop_after=1)
    assert "made by another recipe" in caplog.text


def test_a_skipped_step_is_remembered_by_a_resumed_run(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The optimizer's own count of steps, which its bias correction reads, leaves it out."""
    recipe, take = small_recipe(evaluate_every=9), loop.train_step

    def at_step_2_not_finite(engine: Engine, work: StepWork, *rest: Any) -> Any:
        spoiled = replace(work, language_weight=float("nan"))
        return take(engine, spoiled if rest[-1] == learning_rate(1, recipe.phase) else work, *rest)

    monkeypatch.setattr(loop, "train_step", at_step_2_not_finite)
    whole = run(tmp_path / "whole", model_folder, recipe)
    run(tmp_path / "broken", model_folder, recipe, stop_after=3)
    again = run(tmp_path / "broken", model_folder, recipe)
    assert [line["skipped_steps"] for line in figures(tmp_path / "broken")] == [0, 1, 1, 1, 1, 1]
    assert figures(tmp_path / "whole") == figures(tmp_path / "broken")
    expected, found = checkpoint.weights(whole), checkpoint.weights(again)
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())


def test_skipped_steps_in_a_row_are_counted_across_an_interruption(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps 2 to 4 are skipped: the third in a row ends the run, the resumed one at the same step and in the same words."""
    recipe, take = small_recipe(evaluate_every=9, skips_in_a_row=3, checkpoint_every=1), loop.train_step
    rates = [learning_rate(step, recipe.phase) for step in (1, 2, 3)]

    def not_finite(engine: Engine, work: StepWork, *rest: Any) -> Any:
        return take(engine, replace(work, language_weight=float("nan")) if rest[-1] in rates else work, *rest)

    monkeypatch.setattr(loop, "train_step", not_finite)
    ends = []
    for name, stop_after in (("whole", None), ("broken", 3), ("broken", None)):
        try:
            run(tmp_path / name, model_folder, recipe, stop_after=stop_after)
        except PipelineError as error:
            ends.append(str(error))
    whole, resumed = ends
    assert whole == resumed and whole.startswith("step 4: loss or gradient is not finite for 3 steps in a row")
    newest = checkpoint.steps(tmp_path / "broken" / "checkpoints")[0]
    assert (checkpoint.peek(newest).step, checkpoint.peek(newest).skipped_in_a_row) == (3, 2)
    old = newest / checkpoint.STATE
    old.write_text(json.dumps({name: value for name, value in json.loads(old.read_text()).items() if "row" not in name}))
    assert checkpoint.read_state(old.parent).skipped_in_a_row == 0, "one of before it was noted loads"


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path, model_folder: Path) -> None:
    run(tmp_path, model_folder, small_recipe(checkpoint_every=1, keep_checkpoints=2))
    assert [folder.name for folder in checkpoint.steps(tmp_path / "checkpoints")] == ["step-00000006", "step-00000005"]


def test_a_checkpoint_loads_with_the_model_folder_it_was_trained_from_alone(tmp_path: Path, model_folder: Path) -> None:
    """A work folder's model is made anew for another corpus or recipe, and a tokenizer of other words need not differ in size."""
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    last = run(tmp_path / "train", folder, small_recipe(steps=2, checkpoint_every=2))
    assert load_model(last).recipe == small_recipe(steps=2, checkpoint_every=2)
    tokenizer = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(tokenizer + " ")
    with pytest.raises(CheckpointError, match=r"its model folder .*model is not the one it was trained from; run crem model"):
        load_model(last)
