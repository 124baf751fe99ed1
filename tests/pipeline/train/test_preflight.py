"""The forecast against real tensors: bytes of the state at every ZeRO stage and of graphs, FLOPs, and what cannot fit."""

import gc
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.shapes import config_folder
from pipeline.batch import pack
from pipeline.errors import CheckpointError, ConfigError
from pipeline.model.adapters import Full, LoRA
from pipeline.recipe import Recipe
from pipeline.recipes import load
from pipeline.recipes.crem import with_joint
from pipeline.train.build import DTYPES, build_embedder
from pipeline.train.engine import Engine, linear_as_run
from pipeline.train.gpus import GIB, GPUS
from pipeline.train.preflight import forecast
from pipeline.train.preflight_memory import StateBytes, Weights, state_bytes
from pipeline.train.preflight_rows import Assumed
from pipeline.train.preflight_trace import attention_flops, chunk_cost, outline_embedder, tower_flops
from pipeline.train.saved_bytes import SavedBytes
from tests.pipeline.corpus import SMALL, small_recipe

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


def test_flops_are_those_counted(model_folder: Path) -> None:
    recipe = lora()
    rows = Assumed(recipe=recipe, visual=9).chunk(600)
    batch = pack(rows, recipe.layout, recipe.pooling.positions)
    embedder, _ = build_embedder(model_folder, recipe, dtype=torch.float32)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        embedder(replace(batch, features=torch.zeros(len(batch.image_index), embedder.width)))
    found = chunk_cost(outline_embedder(model_folder, recipe), rows, recipe)
    assert found.forward - attention_flops(embedder, batch) == pytest.approx(counter.get_total_flops(), rel=0.01)
    logits = 2 * len(batch.score_index) * embedder.backbone.vocab_size * embedder.width
    assert found.replay == 0, "a frozen head sees its logits once"
    full = chunk_cost(outline_embedder(model_folder, replace(recipe, adapter=Full())), rows, replace(recipe, adapter=Full()))
    assert full.replay == logits, "a trained one sees them twice"
    layers = chunk_cost(outline_embedder(model_folder, recipe), rows, with_joint(recipe, gradient_checkpointing=True))
    assert layers.replay + logits == layers.forward == found.forward
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        embedder.backbone.features(torch.zeros(36, 1176), torch.tensor([[1, 6, 6]]))
    attention = 4.0 * 36**2 * 32 * 2
    assert tower_flops(embedder, 9) - attention == pytest.approx(counter.get_total_flops(), rel=0.05)


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
