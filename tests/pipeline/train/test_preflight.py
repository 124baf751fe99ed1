"""The forecast against real tensors: bytes of the state at every ZeRO stage and of graphs, FLOPs, and what cannot fit."""

import gc
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.shapes import config_folder
from pipeline.batch import Batch, pack, truncate
from pipeline.errors import CheckpointError, ConfigError
from pipeline.model.adapters import Full, LoRA
from pipeline.model.embedder import Embedder
from pipeline.recipe import Recipe
from pipeline.recipes import load
from pipeline.recipes.crem import with_joint
from pipeline.roles import Role
from pipeline.train.build import DTYPES, build_embedder
from pipeline.train.engine import Engine, linear_as_run
from pipeline.train.gpus import GIB, GPUS
from pipeline.train.preflight import Forecast, Memory, Work, batch_work, forecast
from pipeline.train.preflight_memory import StateBytes, Weights, state_bytes
from pipeline.train.preflight_rows import Assumed
from pipeline.train.preflight_trace import attention_flops, chunk_cost, outline_embedder, tower_flops
from pipeline.train.saved_bytes import SavedBytes
from tests.pipeline.corpus import SMALL, small_recipe
from tests.pipeline.train.counted import counting

TRACES = 1200
"""Bytes of step counters, flags and rotary tables, which no forecast counts."""


def lora(**phase: object) -> Recipe:
    return replace(small_recipe(**phase), adapter=LoRA(rank=8, alpha=8), tower="frozen")


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
    rows = Assumed(recipe=recipe, visual=4).chunk(200)
    batch = pack(rows, recipe.layout, recipe.pooling.positions)
    batch = replace(batch, pixels=(), features=torch.zeros(len(batch.image_index), SMALL.hidden))
    old = tensors()  # held, so that nothing of an earlier test is freed while this one counts
    embedder, _ = build_embedder(model_folder, recipe, dtype=DTYPES[dtype])
    weights = Weights.of(embedder.to(DTYPES[dtype]))
    engine = Engine(embedder, recipe.phases[0])
    found = []
    for last in (True, False):
        engine.idle(batch, last=last)
        if last:
            engine.step(0.0)
        found.append(new_bytes(old))
    expected = state_bytes(weights, recipe.phases[0], num_ranks=1)
    assert sum(weights.trained) * 4 > 10 * TRACES
    assert found[0] == pytest.approx(expected.weights + expected.optimizer + kept(expected, stage, dtype), abs=TRACES)


def kept(expected: StateBytes, stage: int, dtype: str) -> int:
    """Bytes of gradients and buffers that stay allocated after a step: those that DeepSpeed made once, flat."""
    if stage == 3:
        return expected.gradients + expected.buffers
    return expected.gradients if dtype == "bfloat16" and stage < 2 else 0


@pytest.mark.parametrize("stage", [2, 3])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_bytes_that_graphs_keep_are_those_measured(model_folder: Path, adapter: str, checkpointing: bool, stage: int) -> None:
    recipe = lora(gradient_checkpointing=checkpointing, zero_stage=stage)
    recipe = recipe if adapter == "lora" else replace(recipe, adapter=small_recipe().adapter)
    rows = Assumed(recipe=recipe, visual=9).chunk(1500)
    batch = pack(rows, recipe.layout, recipe.pooling.positions)
    embedder, _ = build_embedder(model_folder, recipe, dtype=torch.float32)
    if checkpointing:
        embedder.checkpoint_layers()
    batch = replace(batch, features=torch.zeros(len(batch.image_index), embedder.width))
    with SavedBytes([*embedder.parameters(), *embedder.buffers()]) as meter, linear_as_run(recipe.phases[0]):
        outputs = embedder.train()(batch)
        found = chunk_cost(outline_embedder(model_folder, recipe), rows, recipe)
        assert found.saved == pytest.approx(meter.now, rel=0.15)
        (outputs.embeddings.sum() + outputs.token_losses.sum()).backward()
    assert meter.now == 0


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


@pytest.mark.parametrize("adapter", [LoRA(rank=8, alpha=8), Full()])
def test_flops_are_those_counted(model_folder: Path, adapter: LoRA | Full) -> None:
    """A query and a positive of 162 and 153 tokens, by torch's own count of a real pass. A trained head sees its logits twice."""
    recipe = replace(lora(), adapter=adapter)
    rows = Assumed(recipe=recipe, visual=9).chunk(600)
    embedder, _ = build_embedder(model_folder, recipe, dtype=torch.float32)
    forward, both = really_counted(embedder, pack(rows, recipe.layout, recipe.pooling.positions))
    found = chunk_cost(outline_embedder(model_folder, recipe), rows, recipe)
    # A causal sequence to the last compression token, one of SYSTEM, tokens, question and answer; 4 d a pair and layer.
    attention = 4 * 32 * 2 * sum(n * (n + 1) // 2 for n in (21 + 49 + 4, 21 + 4 + 24 + 64, 21 + 40 + 4, 21 + 4 + 24 + 64))
    logits = 2 * (64 + 64) * embedder.backbone.vocab_size * 32
    assert (found.tokens, found.replay) == (162 + 153, logits if isinstance(adapter, Full) else 0)
    assert found.forward == forward + attention
    assert found.forward + found.backward + found.replay == both + 3 * attention
    layers = chunk_cost(outline_embedder(model_folder, recipe), rows, with_joint(recipe, gradient_checkpointing=True))
    assert layers.forward == found.forward and layers.replay == found.replay + found.forward - logits


def really_counted(embedder: Embedder, batch: Batch) -> tuple[float, float]:
    """Operations but for attention's: of a forward pass, and of one with its backward pass and whatever that computes again."""
    batch = replace(batch, features=torch.zeros(len(batch.image_index), embedder.width))
    with counting(attention=False) as counted, torch.no_grad():
        embedder(batch)
        forward = counted()
    with counting(attention=False) as counted:
        outputs = embedder(batch)
        (outputs.embeddings.sum() + outputs.token_losses.sum()).backward()
        return forward, counted()


@pytest.mark.parametrize("patches", [6, 36])
def test_flops_of_the_tower_are_those_counted(model_folder: Path, patches: int) -> None:
    """At 36 x 36 patches three quarters are attention, at 6 x 6 nearly all are weights: neither can be wrong by a factor."""
    embedder, _ = build_embedder(model_folder, lora(), dtype=torch.float32)
    with counting(attention=True) as counted, torch.no_grad():
        embedder.backbone.features(torch.zeros(patches**2, 1176), torch.tensor([[1, patches, patches]]))
    assert tower_flops(embedder, patches**2 // 4) == pytest.approx(counted(), rel=0.015)


@pytest.mark.parametrize("tower", ["frozen", "trained"])
def test_work_of_a_batch_is_that_of_all_its_rows(model_folder: Path, tower: str) -> None:
    """One chunk holds the whole batch: 8 queries, 8 positives and 4 conversations. Both passes of it, counted by torch."""
    recipe = replace(lora(chunk_tokens=10**6), tower=tower)
    assumed = Assumed(recipe=recipe, visual=9)
    rows = [row for row, number in assumed.counted() for _ in range(number)]
    assert Counter(len(row.sequence) for row in rows) == {162: 8, 153: 8, 290: 4}
    embedder, _ = build_embedder(model_folder, recipe, dtype=torch.float32)
    full, first = (pack(part, recipe.layout, recipe.pooling.positions) for part in (rows, truncate(rows, Role.COMPRESSION)))
    _, both = really_counted(embedder, full)
    pictures = 12 * tower_flops(embedder, 9)
    passes = 3 if tower == "trained" else 1
    model = both + 3 * attention_flops(embedder, full) + passes * pictures
    again = really_counted(embedder, first)[0] + attention_flops(embedder, first) + (pictures if passes == 3 else 0)
    outline = outline_embedder(model_folder, recipe)
    cost = chunk_cost(outline, assumed.chunk(10**6), recipe)
    for kept_chunks, twice in ((0, 1), (1, 0)):
        found = batch_work(outline, Assumed(recipe=with_joint(recipe, kept_chunks=kept_chunks), visual=9), cost, num_gpus=1)
        assert (found.tokens, found.chunks) == (8 * 162 + 8 * 153 + 4 * 290, 1)
        assert found.model == pytest.approx(model, rel=1e-9)
        assert found.hardware == pytest.approx(model + twice * again, rel=1e-9)


def test_hours_and_pairs_by_hand() -> None:
    """1e18 operations a step on 8 GPUs of 312e12 a second, at 0.4 of that: 1,001.6 s for 128 pairs of each GPU."""
    weights = Weights(trained=[1], frozen=[], outside=[], itemsize=2)
    recipe = with_joint(load("crem_2b"), steps=3600)
    memory = Memory(state=state_bytes(weights, recipe.phases[0], 8), activations=1, features=2, passing=3)
    work = Work(model=1.0, hardware=1e18, tokens=1, chunks=1)
    found = Forecast(recipe=recipe, gpu=GPUS["a800-80g"], num_gpus=8, weights=weights, memory=memory, work=work)
    assert found.seconds == pytest.approx(1e18 / (8 * 312e12 * 0.4)) == pytest.approx(1001.6, rel=1e-3)
    assert found.hours == pytest.approx(1001.6, rel=1e-3) and recipe.phases[0].mixture.pairs == 1024
    assert found.pairs_per_second == pytest.approx(128 / 1001.6, rel=1e-3)


def test_a_hand_worked_model() -> None:
    """Three trained tensors of 5, 6 and 8 elements, 100 frozen ones, a tower of 40, on 4 GPUs in bfloat16."""
    weights = Weights(trained=[5, 6, 8], frozen=[100], outside=[40], itemsize=2)
    phase = load("crem_2b").phases[0]
    one, two, three = (state_bytes(weights, replace(phase, zero_stage=stage), 4) for stage in (1, 2, 3))
    assert (one.weights, two.weights) == ((24 + 140) * 2, (24 + 140) * 2), "19 elements, padded to 24"
    assert (one.gradients, two.gradients) == (24 * 4, 6 * 4)
    assert one.optimizer == two.optimizer == 3 * 6 * 4
    assert (three.weights, three.gradients, three.optimizer) == ((2 + 2 + 2 + 25 + 40) * 2, 6 * 4, 3 * 6 * 4)
    plain = state_bytes(replace(weights, itemsize=4), replace(phase, zero_stage=0, dtype="float32"), 4)
    assert (plain.weights, plain.gradients, plain.optimizer) == (159 * 4, 19 * 4, 2 * 19 * 4)


def test_published_shapes_need_their_config_alone(tmp_path: Path) -> None:
    recipe, gpu = load("crem_2b"), GPUS["a800-80g"]
    small = forecast(config_folder(tmp_path / "2b", "2b"), recipe, gpu, 8, visual=256)
    assert sum(small.weights.trained) == 28 * 16 * (2 * 1536 + 2 * (1536 + 256) + 2 * 1536) + 16 * 1536
    assert sum(small.weights.frozen) + sum(small.weights.outside) == pytest.approx(2.209e9, rel=0.001)
    assert small.memory.features == (1024 + 128) // 8 * 256 * 1536 * 2
    large = forecast(tmp_path / "2b", recipe, gpu, 8, visual=1280)
    assert large.memory.features == 5 * small.memory.features and large.hours > 3 * small.hours
    replayed = large.work.hardware / large.work.model
    assert 1.1 < replayed < 1.5, "the language model runs once more over nearly all tokens, the tower does not"
    small.refuse_misfit()


def test_what_a_batch_takes_by_hand(model_folder: Path) -> None:
    """8 pairs and 4 conversations of pictures of 9 tokens, on 2 GPUs; float32; 32 numbers an embedding."""
    recipe, gpu = lora(chunk_tokens=400), GPUS["a800-80g"]
    mixture, embedder = recipe.phases[0].mixture, outline_embedder(model_folder, recipe)
    mined = with_joint(recipe, mixture=replace(mixture, negatives=2))
    plain, hard, kept = (
        forecast(model_folder, form, gpu, 2, visual=9) for form in (recipe, mined, with_joint(recipe, kept_chunks=1))
    )
    query, positive, negative, talk = 21 + 49 + 4 + 24 + 64, 21 + 40 + 4 + 24 + 64, 21 + 40 + 4, 21 + 49 + 4 + 24 + 192
    assert plain.work.tokens == 8 * (query + positive) + 4 * talk and plain.work.chunks == 5
    assert hard.work.tokens == plain.work.tokens + 16 * negative
    scored = 64 + 64  # a query and a positive fill a chunk
    logits = scored * embedder.backbone.vocab_size * (4 + 4 + 4)
    assert plain.memory.passing == logits + 4 * (2 * (8 + 8) * 32 + 3 * 8 * 8)
    assert hard.memory.passing == logits + 4 * (2 * (8 + 24) * 32 + 3 * 8 * 24)
    assert plain.memory.features == (8 + 4) // 2 * 9 * 32 * 4
    assert kept.memory.activations == 2 * plain.memory.activations > 0, "the chunk that is kept, and the one at work"


def test_two_gib_of_a_gpu_are_left_alone() -> None:
    state, recipe = StateBytes(weights=7, gradients=6, optimizer=5, buffers=4), load("crem_2b")
    rest = GPUS["h100-80g"].memory - 2 * 2**30 - (7 + 6 + 5 + 4) - 3 - 2
    for more in (0, 1):
        memory = Memory(state=state, activations=rest + more, features=3, passing=2)
        found = Forecast(
            recipe=recipe,
            gpu=GPUS["h100-80g"],
            num_gpus=8,
            weights=Weights(trained=[], frozen=[], outside=[], itemsize=2),
            memory=memory,
            work=Work(model=1.0, hardware=1.0, tokens=1, chunks=1),
        )
        with pytest.raises(ConfigError, match="activations") if more else nullcontext():
            found.refuse_misfit()


def test_both_sizes_fit_on_the_paper_s_gpus(tmp_path: Path) -> None:
    for size in ("2b", "7b"):
        folder = config_folder(tmp_path / size, size)
        forecast(folder, load(f"crem_{size}"), GPUS["a800-80g"], 8, visual=1280).refuse_misfit()


def test_what_cannot_fit_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = config_folder(tmp_path, "7b")
    recipe = with_joint(load("crem_7b"), chunk_tokens=65_536)
    found = forecast(folder, recipe, GPUS["a100-40g"], 8, visual=1280)
    with pytest.raises(ConfigError, match=r"crem_7b needs .* GiB on each of 8 a100-40g .*phases.0.chunk_tokens") as error:
        found.refuse_misfit()
    assert "\n" not in str(error.value) and found.memory.total > 39 * GIB
    with pytest.raises(CheckpointError, match=r"no config.json"):
        forecast(tmp_path / "nowhere", recipe, GPUS["a100-40g"], 8, visual=1280)
