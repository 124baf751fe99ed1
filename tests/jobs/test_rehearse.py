"""A rehearsal: what of a recipe it keeps, and a whole one of a small model."""

import gc
import math
import weakref
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.rehearse import EMBEDDED, Rehearsed, Size, lines, prepare, rehearsal_recipe, rehearse, without_gpu
from jobs.runner import run_stage
from jobs.stage import Context, Stage
from pipeline.errors import ConfigError, StoppedError
from pipeline.model.tiles import Tiles
from pipeline.recipe import PublishedBackbone
from pipeline.recipes import RECIPES, load
from pipeline.tracking import default_uri
from pipeline.train import checkpoint
from tests.pipeline.corpus import small_recipe

SIZE = Size(steps=2, pairs=4, visual=16, ranks=1)
COMPUTED = ("layout", "adapter", "tower", "target", "contrastive", "language", "optimizer", "dtype", "zero_stage", "chunk_tokens")


@pytest.mark.parametrize("name", RECIPES)
def test_what_a_step_computes_is_the_recipes(name: str) -> None:
    recipe = load(name)
    for phase in recipe.phases:
        made = rehearsal_recipe(recipe, phase.name, replace(SIZE, pairs=64))
        assert [getattr(made.phase, field) for field in COMPUTED] == [getattr(phase, field) for field in COMPUTED]
        assert (made.backbone, made.tokens, made.pooling, made.max_length) == (
            recipe.backbone, recipe.tokens, recipe.pooling, recipe.max_length
        )  # fmt: skip
        assert made.phase.mixture.pairs == (64 if phase.mixture.pairs else 0)
        assert bool(made.phase.mixture.outside) == bool(phase.mixture.outside)
        assert made.phase.mixture.own_sides == tuple(side for side in phase.mixture.own_sides if side != "negatives")
        shown = 256 if isinstance(recipe.pixels, Tiles) else 16  # of a tile, the least there is
        assert (made.pixels.min_tokens, made.pixels.max_tokens) == (shown, shown)


def test_without_a_gpu_a_step_is_made_small_and_it_is_said() -> None:
    recipe, shown, said = without_gpu(load("crem_2b"), None, ())
    assert [phase.dtype for phase in recipe.phases] == ["float32"] and shown == 64
    assert replace(recipe, phases=load("crem_2b").phases) == load("crem_2b"), "nothing else is changed"
    assert said == (
        "no GPU: 64 visual tokens a picture for 1,280 and float32 for bfloat16, since a step takes hours with what the recipe "
        "says; --visual-tokens 1280 --set phases.0.dtype=bfloat16 has it back"
    )
    tiles, shown, _ = without_gpu(load("magic_2b"), None, ())
    assert shown == 256 and all(phase.dtype == "float32" for phase in tiles.phases), "a tile is the least there is"


def test_what_the_user_says_stays_without_a_gpu_too() -> None:
    told = without_gpu(load("crem_2b"), 640, ("phases.0.dtype=bfloat16",))
    assert told == (load("crem_2b"), 640, "")
    assert without_gpu(load("tiny"), None, ()) == (load("tiny"), load("tiny").pixels.max_tokens, "")


def test_without_a_number_of_pairs_a_step_has_those_of_the_recipe() -> None:
    made = rehearsal_recipe(load("crem_2b"), "", replace(SIZE, pairs=None))
    assert (made.phase.mixture.pairs, made.phase.mixture.outside) == (1024, 128)


@pytest.mark.parametrize(("pairs", "run"), [(64, 32), (96, 48), (48, 48), (50, 25), (7, 7), (1, 1)])
def test_runs_of_one_dataset_are_the_largest_that_fit_the_pairs(pairs: int, run: int) -> None:
    made = rehearsal_recipe(load("magic_2b"), "warm", replace(SIZE, pairs=pairs))
    assert load("magic_2b").phases[1].mixture.sub_batch == 48 and made.phase.mixture.sub_batch == run


def test_an_unknown_shape_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    recipe = replace(rehearsal_recipe(load("magic_2b"), "warm", SIZE), backbone=PublishedBackbone(name="Nobody-1B"))
    context = Context(work=tmp_path, data=tmp_path / "drawn", recipe=recipe, tracking=default_uri(tmp_path))
    with pytest.raises(ConfigError, match="Nobody-1B: its shape is not known here, so it is not rehearsed"):
        list(prepare(context, run_stage))
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_a_small_model_takes_its_steps_goes_on_once_and_embeds(tmp_path: Path) -> None:
    recipe = rehearsal_recipe(small_recipe(), "", SIZE)
    context = Context(work=tmp_path, data=tmp_path / "drawn", recipe=recipe, tracking=default_uri(tmp_path))
    list(prepare(context, run_stage))
    found = rehearse(context, SIZE, run_stage)
    assert [line["step"] for line in found.steps] == [1, 2, 3]
    assert [checkpoint.step_of(folder) for folder in checkpoint.steps(context.train / "checkpoints")] == [3]
    assert found.embeddings_are_finite and found.checkpoint_bytes > 10_000
    assert set(found.seconds) == {"start and steps", "resume and one step", "loading and embedding"}
    assert EMBEDDED == 4 and next(iter(prepare(context, run_stage))) != "drawing pictures", "what is there is kept"


def test_rates_leave_the_first_step_out() -> None:
    steps = (
        {"seconds": 9.0, "peak_memory_gib": 3.0},
        {"seconds": 1.0, "peak_memory_gib": 2.0},
        {"seconds": 3.0, "peak_memory_gib": 9.0},
    )
    found = Rehearsed(steps=steps, seconds={}, checkpoint_bytes=0, embeddings_are_finite=True)
    assert (
        found.mean("seconds") == 2.0
        and (found.peak_gib, found.resumed_gib) == (3.0, 9.0)
        and math.isnan(found.mean("model_flops_utilisation"))
    )
    assert (found.peak_gib, found.resumed_gib) == (3.0, 9.0)
    alone = replace(found, steps=steps[:1])
    assert alone.mean("seconds") == 9.0


def test_what_is_not_known_is_said() -> None:
    from types import SimpleNamespace

    expected = SimpleNamespace(memory=SimpleNamespace(total=2**31), work=SimpleNamespace(tokens=1200, model=2e13))
    step = {"seconds": 2.0, "peak_memory_gib": 2.5, "tokens_per_second": 500.0, "data_wait_share": 0.25}
    steps = (step, {**step, "peak_memory_gib": 4.5})
    found = Rehearsed(steps=steps, seconds={"start": 7.0}, checkpoint_bytes=5_000_000, embeddings_are_finite=True)
    told = [" ".join(line.split()) for line in lines(found, expected, SIZE)]
    assert told[1:7] == [
        "memory of a rank, GiB 2.50 2.00",
        "the same after the resume, GiB 4.50",
        "seconds a step 2.00",
        "tokens/s, all ranks 500",
        "tokens a step, all ranks 1,000 1,200",
        "PFLOPs of the model a step 0.0200",
    ]
    assert "share of the step that waits for data 25.0%" in told and "MFU not known for this device" in told


def test_a_training_that_ended_is_let_go_before_the_next_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine refers to itself: it stood beside the next one, and crem_2b took 22 GiB for 13."""
    context = Context(work=tmp_path, data=tmp_path, recipe=load("tiny"), tracking=default_uri(tmp_path))
    (context.train / "checkpoints" / "step-1").mkdir(parents=True)
    (context.train / "metrics.jsonl").write_text("{}\n")
    engines: list[weakref.ref[Engine]] = []

    def run(stage: Stage, context: Context) -> None:
        assert [engine() for engine in engines] == [None] * len(engines)
        engines.append(weakref.ref(Engine()))
        if len(engines) == 1:
            raise StoppedError("as asked")

    monkeypatch.setattr("jobs.rehearse._embeds", lambda *_: [engine() for engine in engines] == [None, None])
    gc.disable()
    try:
        assert rehearse(context, SIZE, run).embeddings_are_finite  # type: ignore[arg-type]
    finally:
        gc.enable()


class Engine:
    def __init__(self) -> None:
        self.own = self
