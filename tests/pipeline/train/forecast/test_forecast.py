"""The forecast against real tensors: bytes of the state at every ZeRO stage and of graphs, FLOPs, and what cannot fit."""

import gc
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data_prep.published_shapes import write_config
from data_prep.tiny_model import TILE_PIXELS, build_tiny_model
from pipeline.errors import CheckpointError, ConfigError
from pipeline.model.adapters import Full, LoRA
from pipeline.model.shrinkers import Bilinear
from pipeline.model.tiles import Tiles
from pipeline.negatives import InFile
from pipeline.recipe import Family, Recipe
from pipeline.recipes import load
from pipeline.train import engine
from pipeline.train.build import DTYPES, build_embedder
from pipeline.train.engine import Engine, linear_as_run
from pipeline.train.forecast.assumed_rows import Assumed
from pipeline.train.forecast.forecast import Forecast, Memory, Moment, Work, forecast
from pipeline.train.forecast.gpus import GIB, GPUS
from pipeline.train.forecast.memory import StateBytes, Weights, state_bytes
from pipeline.train.forecast.saved_bytes import SavedBytes
from pipeline.train.forecast.trace import chunk_bytes, outline_embedder
from pipeline.train.step import train_step
from tests.pipeline.corpus import SMALL, TEXTS, small_recipe
from tests.pipeline.train.ranks import make
from tests.pipeline.variants import dora

TRACES = 1200
"""Bytes of step counters, flags and rotary tables, which no forecast counts."""


def lora(**phase: object) -> Recipe:
    return small_recipe(**phase).with_phase(adapter=LoRA(rank=8, alpha=8), tower="frozen")


def tensors() -> list[torch.Tensor]:
    """All tensors that Python can see, with their gradients."""
    gc.collect()
    found = [thing for thing in gc.get_objects() if type(thing) in (torch.Tensor, torch.nn.Parameter)]
    return [*found, *(leaf.grad for leaf in found if leaf.is_leaf and leaf.grad is not None)]


def new_bytes(old: list[torch.Tensor]) -> int:
    """Bytes of all tensors but the `old` ones, each storage once."""
    known = {tensor.untyped_storage().data_ptr() for tensor in old}
    found = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors()}
    return sum(size for place, size in found.items() if place not in known)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_state_bytes_are_those_of_real_tensors(model_folder: Path, stage: int, dtype: str) -> None:
    recipe = lora(zero_stage=stage, dtype=dtype)
    batch = Assumed(recipe=recipe, visual=4).steps(1)[0][0].full
    batch = replace(batch, features=torch.zeros(len(batch.image_index), SMALL.hidden))
    old = tensors()  # held, so that nothing of an earlier test is freed while this one counts
    embedder, _ = build_embedder(model_folder, recipe, dtype=DTYPES[dtype])
    weights = Weights.of(embedder.to(DTYPES[dtype]))
    made = Engine(embedder, recipe.phase)
    found = []
    for last in (True, False):
        made.run_dummy(batch, last=last)
        if last:
            made.step(0.0)
        found.append(new_bytes(old))
    expected = state_bytes(weights, recipe.phase, num_ranks=1)
    assert sum(weights.trained) * 4 > 10 * TRACES
    assert found[0] == pytest.approx(expected.weights + expected.optimizer + kept(expected, stage, dtype), abs=TRACES)


@pytest.mark.parametrize(("stage", "dtype"), [(0, "float32"), (1, "bfloat16")])
def test_buffers_are_what_is_reduced(model_folder: Path, stage: int, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest tensor that crosses ranks: all gradients at once, a copy beside them."""
    recipe = lora(zero_stage=stage, dtype=dtype)
    batch = Assumed(recipe=recipe, visual=4).steps(1)[0][0].full
    batch = replace(batch, features=torch.zeros(len(batch.image_index), SMALL.hidden))
    embedder, _ = build_embedder(model_folder, recipe, dtype=DTYPES[dtype])
    weights, made, sent = Weights.of(embedder.to(DTYPES[dtype])), Engine(embedder, recipe.phase), [0]
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor, **_: sent.append(tensor.nbytes))
    made.run_dummy(batch, last=True)
    assert max(sent) == state_bytes(weights, recipe.phase, num_ranks=1).buffers == 4 * sum(weights.trained)


def kept(expected: StateBytes, stage: int, dtype: str) -> int:
    """Bytes of gradients and buffers that stay allocated after a step: those that DeepSpeed made once, flat."""
    if stage == 3:
        return expected.gradients + expected.buffers
    return expected.gradients if dtype == "bfloat16" and stage < 2 else 0


@pytest.mark.parametrize("stage", [2, 3])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("adapter", ["lora", "dora", "full"])
def test_bytes_that_graphs_keep_are_those_measured(model_folder: Path, adapter: str, checkpointing: bool, stage: int) -> None:
    recipe = lora(gradient_checkpointing=checkpointing, zero_stage=stage)
    full = small_recipe().phase.adapter
    recipe = recipe.with_phase(adapter={"lora": recipe.phase.adapter, "dora": dora(recipe).phase.adapter, "full": full}[adapter])
    batch = Assumed(recipe=recipe.with_phase(chunk_tokens=1500), visual=9).steps(1)[0][1].full
    embedder, _ = build_embedder(model_folder, recipe, dtype=torch.float32)
    if checkpointing:
        embedder.checkpoint_layers()
    seen = replace(batch, features=torch.zeros(len(batch.image_index), embedder.width))
    with SavedBytes([*embedder.parameters(), *embedder.buffers()]) as meter, linear_as_run(recipe.phase):
        outputs = embedder.train()(seen)
        found = chunk_bytes(outline_embedder(model_folder, recipe), batch, recipe)
        assert found.tower == 0 < len(batch.grid_thw) and found.text == pytest.approx(meter.now, rel=0.15)
        (outputs.embeddings.sum() + outputs.token_losses.sum()).backward()
    assert meter.now == 0


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl", "internvl"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_bytes_that_a_trained_tower_keeps_are_those_measured(tmp_path: Path, family: Family, checkpointing: bool) -> None:
    """Two pictures of 10 x 14 and 6 x 8 patches (InternVL: of 9 and 3 tiles) through the real tower, all of whose tensors stay
    until its gradient; in Qwen3-VL and InternVL what a shrinker leaves."""
    build_tiny_model(tmp_path, TEXTS, replace(SMALL, family=family), seed=0)
    recipe = small_recipe(gradient_checkpointing=checkpointing).with_phase(tower="trained")
    grids, inputs = torch.tensor([[1, 10, 14], [1, 6, 8]]), torch.zeros(10 * 14 + 6 * 8, 1176)
    if family in ("qwen3_vl", "internvl"):
        recipe = replace(recipe, vision=Bilinear(2.0))
    if family == "internvl":
        recipe = replace(recipe, pixels=Tiles(side=TILE_PIXELS))
        grids, inputs = torch.tensor([[9, 4, 4], [3, 4, 4]]), torch.zeros(12, 3, TILE_PIXELS, TILE_PIXELS)
    batch = Assumed(recipe=recipe, visual=9).steps(1)[0][0].full
    embedder, _ = build_embedder(tmp_path, recipe, dtype=torch.float32)
    if checkpointing:
        embedder.checkpoint_layers()
    with SavedBytes([*embedder.parameters(), *embedder.buffers()]) as meter:
        features = embedder.train().backbone.features(inputs, grids)
        found = chunk_bytes(outline_embedder(tmp_path, recipe), replace(batch, grid_thw=grids), recipe)
        assert found.tower == pytest.approx(meter.now, rel=0.15)
        features.sum().backward()
    assert found.tower_layer > 188 * 32 * 4 * 6, "six tensors of the tower's width and more"


def test_the_meter_counts_each_storage_once_and_forgets_freed_graphs() -> None:
    weight, states = torch.ones(8, 8, requires_grad=True), torch.ones(4, 8)
    with SavedBytes([weight]) as meter:
        product = states @ weight
        assert meter.now == states.nbytes
        out = (product * product[:2].sum()).sum() + (product[1:] ** 2).sum()
        both = meter.now
        assert states.nbytes + product.nbytes <= both <= states.nbytes + product.nbytes + 16, "16: the sum and the power"
        out.backward()
    assert meter.now == 0 and meter.peak == both


def test_hours_and_pairs_by_hand() -> None:
    """1e18 operations a step on 8 GPUs of 312e12 a second, at 0.4 of that: 1,001.6 s for 128 pairs of each GPU.

    12.48e15 a look on the GPU with most: 100 s, at every 100th of 3,600 steps: an hour.
    """
    weights = Weights(trained=[1], frozen=[], outside=[], itemsize=2)
    recipe = load("crem_2b").with_phase(steps=3600)
    memory = Memory(state=state_bytes(weights, recipe.phase, 8), step=Moment(activations=1, features=2, passing=3))
    work = Work(model=1.0, hardware=1e18, tokens=1, chunks=1)
    found = Forecast(recipe=recipe, gpu=GPUS["a800-80g"], num_gpus=8, weights=weights, memory=memory, work=work)
    assert found.seconds == pytest.approx(1e18 / (8 * 312e12 * 0.4)) == pytest.approx(1001.6, rel=1e-3)
    assert found.hours == pytest.approx(1001.6, rel=1e-3) and recipe.phase.mixture.pairs == 1024
    assert found.pairs_per_second == pytest.approx(128 / 1001.6, rel=1e-3)
    looking = replace(found, work=replace(work, look=12.48e15))
    assert (looking.look_seconds, looking.num_looks) == (pytest.approx(100), 36)
    assert looking.hours == pytest.approx(found.hours + 1) and looking.seconds == found.seconds


def test_a_hand_worked_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three trained tensors of 5, 6 and 8 elements, 100 frozen ones, a tower of 40, on 4 GPUs in bfloat16; 7 are few."""
    monkeypatch.setattr(engine, "PERSISTENT", 7)
    weights = Weights(trained=[5, 6, 8], frozen=[100], outside=[40], itemsize=2)
    phase = load("crem_2b").phase
    one, two, three = (state_bytes(weights, replace(phase, zero_stage=stage), 4) for stage in (1, 2, 3))
    assert (one.weights, two.weights) == ((24 + 140) * 2, (24 + 140) * 2), "19 elements, padded to 24"
    assert (one.gradients, two.gradients) == (24 * 4, 6 * 4)
    assert one.optimizer == two.optimizer == 3 * 6 * 4
    assert (three.weights, three.gradients, three.optimizer) == ((2 + 2 + 2 + 25 + 40 + 5 + 6) * 2, 6 * 4, 3 * 6 * 4)
    plain = state_bytes(replace(weights, itemsize=4), replace(phase, zero_stage=0, dtype="float32"), 4)
    assert (plain.weights, plain.gradients, plain.optimizer) == (159 * 4, 19 * 4, 2 * 19 * 4)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Forecast]:
    """Forecasts of published shapes on eight A800, 1,280 visual tokens a picture."""
    root, gpu = tmp_path_factory.mktemp("shapes"), GPUS["a800-80g"]
    recipes = {size: load(f"crem_{size}").with_phase(chunk_tokens=12_288, kept_chunks=0) for size in ("2b", "7b")}
    recipes["full"] = recipes["2b"].with_phase(adapter=Full(), tower="trained")
    folders = {name: write_config(root / name, f"Qwen2-VL-{'7B' if name == '7b' else '2B'}-Instruct") for name in recipes}
    return {name: forecast(folders[name], recipe, gpu, 8, visual=1280) for name, recipe in recipes.items()}


def test_published_shapes_need_their_config_alone(published: dict[str, Forecast]) -> None:
    found = published["2b"]
    assert sum(found.weights.trained) == 28 * 16 * (2 * 1536 + 2 * (1536 + 256) + 2 * 1536) + 16 * 1536
    assert sum(found.weights.frozen) + sum(found.weights.outside) == pytest.approx(2.209e9, rel=0.001)
    assert found.memory.step.features == (1024 + 128) // 8 * 1280 * 1536 * 2
    replayed = found.work.hardware / found.work.model
    assert 1.1 < replayed < 1.5, "the language model runs once more over nearly all tokens, the tower does not"


def test_the_lengths_of_dora_s_rows_are_trained_weights(model_folder: Path) -> None:
    """Of q and o (32 rows), k and v (16) and the MLP's last map (32), in two layers."""
    with_lengths = dora(lora())
    without = with_lengths.with_phase(adapter=replace(with_lengths.phase.adapter, dora=False))  # type: ignore[type-var]
    one, other = (sum(Weights.of(outline_embedder(model_folder, recipe)).trained) for recipe in (with_lengths, without))
    assert one - other == 2 * (32 + 16 + 16 + 32 + 32)


def test_a_trained_tower_does_not_fit_where_a_frozen_one_does(published: dict[str, Forecast]) -> None:
    """Eight pictures of 5,120 patches in the worst chunk. By hand, what each of 32 blocks of width 1,280 keeps of a patch in two
    bytes: the inputs of two norms, of q, k and v and of the MLP (4), q, k, v and, with v, their whole product (5), the output of
    attention (1; it is the input of the last map too), and three tensors of four times the width in the MLP.
    """
    found = published["full"]
    by_hand = 8 * 5120 * 32 * 2 * 1280 * (4 + 5 + 1 + 3 * 4)
    assert found.memory.step.tower == pytest.approx(by_hand, rel=0.02)
    assert found.memory.total > found.gpu.memory > found.memory.total - found.memory.step.tower
    with pytest.raises(ConfigError, match=r"most of it is tower's activations.*phases.0.chunk_tokens.*tower=frozen"):
        found.refuse_misfit()


def test_a_checkpoint_takes_one_tensor_of_the_device_and_twelve_bytes_a_weight_of_the_host(
    published: dict[str, Forecast],
) -> None:
    """The table of 151,936 rows of 1,536 is the largest; the head is the same tensor."""
    memory = published["full"].memory
    assert memory.checkpoint == 151_936 * 1536 * 4
    assert memory.host == 12 * sum(published["full"].weights.trained) > 24 * GIB
    assert 0 < memory.look < memory.step.total


def test_the_largest_moment_counts_and_slack_is_a_share_of_it() -> None:
    state, step = StateBytes(weights=7, gradients=6, optimizer=5, buffers=4), Moment(activations=100, tower=200, passing=100)
    assert Memory(state=state, step=step, look=300, checkpoint=200).total == 22 + 400 + 20
    assert Memory(state=state, step=step, look=600, checkpoint=200).total == 22 + 600 + 30
    assert Memory(state=state, step=step, look=300, checkpoint=800).total == 22 + 800 + 40


def test_what_a_batch_takes_by_hand(model_folder: Path) -> None:
    """8 pairs and 4 conversations of pictures of 9 tokens, on 2 GPUs; float32; 32 numbers an embedding."""
    recipe, gpu = lora(chunk_tokens=400), GPUS["a800-80g"]
    embedder = outline_embedder(model_folder, recipe)
    mined = recipe.with_phase(negatives=InFile(most=2))
    keeping = [recipe.with_phase(kept_chunks=kept) for kept in (1, 2, 99)]
    plain, hard, *kept = (forecast(model_folder, form, gpu, 2, visual=9) for form in (recipe, mined, *keeping))
    query, positive, negative, talk = 21 + 49 + 4 + 24 + 64, 21 + 40 + 4 + 24 + 64, 21 + 40 + 4, 21 + 49 + 4 + 24 + 192
    assert plain.work.tokens == 8 * (query + positive) + 4 * talk and plain.work.chunks == 6
    assert hard.work.tokens == plain.work.tokens + 16 * negative
    scored = 64 + 64  # two queries fill a chunk
    logits = scored * embedder.backbone.vocab_size * (4 + 4 + 4)
    assert plain.memory.step.passing == logits + 4 * (2 * (8 + 8) * 32 + 3 * 8 * 8)
    assert hard.memory.step.passing == logits + 4 * (2 * (8 + 24) * 32 + 3 * 8 * 24)
    assert plain.memory.step.features == (8 + 4) // 2 * 9 * 32 * 4
    assert plain.memory.look == logits + 400 * 32 * 4, "logits are more than a layer's tensors; a feature a token of a chunk"
    assert [each.memory.step.activations / plain.memory.step.activations for each in kept] == [1, 2, 6]


def test_one_kept_graph_takes_no_more_than_none_and_each_other_its_own(model_folder: Path) -> None:
    """A real step's graphs, of chunks that are all alike: the kept ones are freed before a replay makes the next."""
    peaks = []
    for kept in (0, 1, 2, 99):
        recipe = small_recipe(chunk_tokens=1, kept_chunks=kept)
        engine, dataset = make(model_folder, recipe)
        work = dataset.work(dataset.draw(0), 0)
        work = replace(work, chunks=[replace(work.chunks[-1]) for _ in range(3)])
        with SavedBytes([*engine.module.parameters(), *engine.module.buffers()]) as meter:
            train_step(engine, work, recipe.phase, 0.0)
        peaks.append(meter.peak)
    assert [peak / peaks[0] for peak in peaks] == pytest.approx([1, 1, 2, 3], rel=0.02)


def test_two_gib_of_a_gpu_are_left_alone() -> None:
    state, recipe = StateBytes(weights=7, gradients=6, optimizer=5, buffers=4), load("crem_2b")
    rest = int((GPUS["h100-80g"].memory - 2 * 2**30 - (7 + 6 + 5 + 4)) / 1.05) - 3 - 2
    for more in (-1, 2):
        memory = Memory(state=state, step=Moment(activations=rest + more, features=3, passing=2))
        found = Forecast(
            recipe=recipe,
            gpu=GPUS["h100-80g"],
            num_gpus=8,
            weights=Weights(trained=[], frozen=[], outside=[], itemsize=2),
            memory=memory,
            work=Work(model=1.0, hardware=1.0, tokens=1, chunks=1),
        )
        with pytest.raises(ConfigError, match="activations") if more > 0 else nullcontext():
            found.refuse_misfit()


def test_both_sizes_fit_on_the_paper_s_gpus(published: dict[str, Forecast]) -> None:
    for size in ("2b", "7b"):
        published[size].refuse_misfit()


def test_what_cannot_fit_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = write_config(tmp_path, "Qwen2-VL-7B-Instruct")
    recipe = load("crem_7b").with_phase(chunk_tokens=65_536, kept_chunks=0)
    found = forecast(folder, recipe, GPUS["a100-40g"], 8, visual=1280)
    with pytest.raises(ConfigError, match=r"crem_7b needs .* GiB on each of 8 a100-40g .*phases.0.chunk_tokens") as error:
        found.refuse_misfit()
    assert "\n" not in str(error.value) and found.memory.total > 39 * GIB
    with pytest.raises(CheckpointError, match=r"no config.json"):
        forecast(tmp_path / "nowhere", recipe, GPUS["a100-40g"], 8, visual=1280)
