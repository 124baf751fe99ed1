"""The GPU route against the route for every device, over the same span tensors.

On a CPU a stand-in takes the kernel's place, so that all but the kernel is tested; `pytest -m gpu` runs the same with torch's.
"""

import copy
import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.batch import PoolPositions, pack
from pipeline.model import attention, varlen, varlen_check
from pipeline.model.attention import SpanPlan, picture_attention, span_attention
from pipeline.model.embedder import Embedder
from pipeline.recipe import Recipe
from pipeline.roles import Role
from pipeline.sequence import SequenceBuilder
from pipeline.spans import Spans
from tests.pipeline.cases import random_case
from tests.pipeline.corpus import random_row
from tests.pipeline.kernels import put_in_place, stand_in

MODULE = torch.nn.Module()
PICTURES = (16, 64, 64, 4, 36)


@pytest.fixture(params=["stand-in", pytest.param("torch", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """Where a kernel is at hand: a GPU with torch's, or the CPU with the stand-in."""
    if request.param == "stand-in":
        put_in_place(monkeypatch, stand_in)
    varlen_check.refusal.cache_clear()
    yield torch.device("cpu" if request.param == "stand-in" else "cuda")
    varlen_check.refusal.cache_clear()


@pytest.fixture
def calls(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> list[inspect.BoundArguments]:
    """The arguments of every call of the kernel, bound to the signature of torch's own."""
    kernel, signature = varlen.varlen_attn, inspect.signature(varlen.varlen_attn)
    real = inspect.signature(torch.nn.attention.varlen.varlen_attn)
    made: list[inspect.BoundArguments] = []

    def record(*args: Any, **kwargs: Any) -> Any:
        signature.bind(*args, **kwargs)
        made.append(real.bind(*args, **kwargs))
        return kernel(*args, **kwargs)

    monkeypatch.setattr(varlen, "varlen_attn", record)
    return made


class Sums(TorchDispatchMode):
    """Notes in which type rows are added up."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: list[torch.dtype] = []

    def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if call.overloadpacket in (torch.ops.aten.index_add_, torch.ops.aten.index_add):
            self.dtypes.append(args[0].dtype)
        return call(*args, **(kwargs or {}))


def test_gradients_of_shared_keys_are_rounded_once(device: torch.device) -> None:
    """Two hundred sequences that share their first token, each with a small share of its gradient."""
    generator = torch.Generator().manual_seed(0)
    part = torch.randn(201, 2, 16, generator=generator).to(device, torch.bfloat16).requires_grad_()
    places = torch.stack([torch.zeros(200, dtype=torch.int64), torch.arange(1, 201)], dim=1).flatten().to(device)
    gradient = torch.randn(400, 2, 16, generator=generator).to(device, torch.bfloat16)
    shared = varlen._SharedRows.apply(part, places)
    assert torch.equal(shared, part[places])
    with Sums() as sums:
        (found,) = torch.autograd.grad(shared, part, gradient)
    # A GPU adds in the type of the sum, with a rounding each time; a CPU's own sum is exact in any type and would not tell.
    assert sums.dtypes == [torch.float32]
    exact = torch.zeros(201, 2, 16, dtype=torch.float64, device=device).index_add_(0, places, gradient.double())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), exact, rtol=2**-8, atol=1e-6)


def without_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "is_trusted", lambda heads: False)


def random_heads(length: int, *, kv_heads: int, device: torch.device) -> list[torch.Tensor]:
    """Queries (1, 4, T, 16), keys and values (1, H_kv, T, 16) as the model hands them over: (T, H, d) in memory."""
    generator = torch.Generator().manual_seed(length)
    shapes = [(length, count, 16) for count in (4, kv_heads, kv_heads)]
    parts = [torch.randn(shape, generator=generator).to(device, torch.bfloat16) for shape in shapes]
    return [part.transpose(0, 1)[None].requires_grad_() for part in parts]


def with_gradients(out: torch.Tensor, leaves: list[torch.Tensor]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    factors = torch.randn(out.shape, generator=generator).to(out)
    return [out.detach(), *torch.autograd.grad(out, leaves, factors)]


def assert_near(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    """Two bf16 routes, each with its own rounding: within the tolerance of the check."""
    for ours, theirs in zip(found, expected, strict=True):
        allowed = varlen_check.TOLERANCE_STEPS * torch.finfo(torch.bfloat16).eps * float(theirs.abs().max())
        torch.testing.assert_close(ours, theirs, atol=allowed, rtol=0)


def spans_of(case_seed: int, builder: SequenceBuilder, device: torch.device) -> Spans:
    case = random_case(case_seed, builder.vocabulary)
    return pack(case.rows, case.layout, PoolPositions(Role.CONTEXT, last=True)).to(device).spans


@pytest.mark.parametrize("seed", range(20))
def test_the_kernel_equals_the_bucketed_route(
    device: torch.device, builder: SequenceBuilder, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Random layouts and rows, grouped heads, forward and backward."""
    spans = spans_of(seed, builder, device)
    leaves = random_heads(len(spans.take), kv_heads=2, device=device)
    results = []
    for _ in range(2):
        out, _weights = span_attention(MODULE, *leaves, None, plan=SpanPlan.of(spans), scaling=0.3)
        results.append(with_gradients(out, leaves))
        without_kernel(monkeypatch)
    assert_near(*results)


def test_the_kernel_equals_the_batched_route_for_pictures(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = torch.tensor([0, *np.cumsum(PICTURES)], dtype=torch.int32, device=device)
    leaves = random_heads(sum(PICTURES), kv_heads=4, device=device)
    results = []
    for _ in range(2):
        out, _weights = picture_attention(MODULE, *leaves, None, cu_seq_lens_q=starts, max_length_q=64, scaling=0.3)
        results.append(with_gradients(out, leaves))
        without_kernel(monkeypatch)
    assert_near(*results)


def test_the_arguments_of_the_kernel(device: torch.device, calls: list[inspect.BoundArguments], builder: SequenceBuilder) -> None:
    """Causal over the spans for text, in full over each picture; torch's defaults are neither causal nor grouped."""
    spans = spans_of(3, builder, device)
    with torch.no_grad():
        leaves = random_heads(len(spans.take), kv_heads=2, device=device)
        span_attention(MODULE, *leaves, None, plan=SpanPlan.of(spans), scaling=0.3)
        text = calls[-1].arguments
        starts = torch.tensor([0, *np.cumsum(PICTURES)], dtype=torch.int32, device=device)
        leaves = random_heads(sum(PICTURES), kv_heads=4, device=device)
        picture_attention(MODULE, *leaves, None, cu_seq_lens_q=starts, max_length_q=64, scaling=0.3)
        pictures = calls[-1].arguments
    assert text["query"].shape == (len(spans.gather), 4, 16) and text["key"].shape == text["value"].shape == (
        len(spans.gather),
        2,
        16,
    )
    assert text["window_size"] == (-1, 0) and isinstance(text["window_size"], tuple), "torch compares it with a tuple"
    assert pictures["window_size"] == (-1, -1) and pictures["query"].shape == (sum(PICTURES), 4, 16)
    for asked, begins in ((text, spans.cu_seqlens), (pictures, starts)):
        assert asked["enable_gqa"] is True and asked["scale"] == 0.3
        for name in ("cu_seq_q", "cu_seq_k"):
            assert asked[name].dtype == torch.int32 and torch.equal(asked[name].long(), begins.long())
        assert asked["max_q"] == asked["max_k"] == int(begins.diff().max()) and type(asked["max_q"]) is int
        assert set(asked) <= {
            "query",
            "key",
            "value",
            "cu_seq_q",
            "cu_seq_k",
            "max_q",
            "max_k",
            "scale",
            "window_size",
            "enable_gqa",
        }


def test_what_the_kernel_cannot_do_goes_the_other_way(
    device: torch.device, calls: list[inspect.BoundArguments], builder: SequenceBuilder
) -> None:
    """Float32."""
    spans = spans_of(3, builder, device)
    leaves = [leaf.detach() for leaf in random_heads(len(spans.take), kv_heads=2, device=device)]
    span_attention(MODULE, *[leaf.float() for leaf in leaves], None, plan=SpanPlan.of(spans), scaling=0.3)
    assert calls == []


def test_dropout_is_not_left_out_in_silence(device: torch.device, builder: SequenceBuilder) -> None:
    spans = spans_of(3, builder, device)
    leaves = [leaf.detach() for leaf in random_heads(len(spans.take), kv_heads=2, device=device)]
    with pytest.raises(AssertionError, match="open_folder refuses a model whose attention has dropout"):
        span_attention(MODULE, *leaves, None, plan=SpanPlan.of(spans), scaling=0.3, dropout=0.1)


def on_device(embedder: Embedder, device: torch.device) -> Embedder:
    return copy.deepcopy(embedder).to(device, torch.bfloat16)


def test_tables_are_computed_once_a_micro_batch(
    device: torch.device,
    calls: list[inspect.BoundArguments],
    embedder: Embedder,
    builder: SequenceBuilder,
    recipe: Recipe,
) -> None:
    """All layers of a forward pass read the same starts, of text and of pictures, and no buckets are made for nothing."""
    rows = [random_row(builder, np.random.default_rng(seed), slot=seed, num_images=2, num_turns=1) for seed in range(2)]
    batch = pack(rows, recipe.phase.layout, recipe.pooling.positions).to(device)
    model = on_device(embedder, device)
    plan = SpanPlan.of(batch.spans)
    with torch.no_grad():
        inputs = model.inputs(batch)
        pictures = {id(call.arguments["cu_seq_q"]) for call in calls if call.arguments["window_size"] == (-1, -1)}
        calls.clear()
        model.backbone.hidden(inputs, batch.position_ids, plan)
    assert len(pictures) == 1 + 1  # the check's and the tower's
    text = [call for call in calls if len(call.arguments["query"]) == len(batch.spans.gather)]
    assert len(text) == len(model.backbone.text.layers) == 2
    assert all(call.arguments["cu_seq_q"] is plan.sequences.cu_seqlens for call in text)
    assert set(vars(plan)) == {"spans", "sequences"}


def test_a_model_in_half_precision_gives_the_same_by_either_route(
    device: torch.device, embedder: Embedder, builder: SequenceBuilder, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [random_row(builder, np.random.default_rng(seed), slot=seed, compressed=seed > 0) for seed in range(3)]
    batch = pack(rows, recipe.phase.layout, recipe.pooling.positions).to(device)
    model = on_device(embedder, device)
    results = []
    for _ in range(2):
        outputs = model(batch)
        loss = outputs.embeddings.square().mul(torch.arange(model.width, device=device)).sum() + outputs.token_losses.sum()
        gradient = torch.autograd.grad(loss, model.bank.rows)[0]
        results.append([outputs.embeddings.detach(), outputs.token_losses.detach(), gradient])
        without_kernel(monkeypatch)
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours.float(), theirs.float(), atol=0.03 * float(theirs.abs().max()), rtol=0)
