"""The check that stands before the kernel: a right one passes, each wrong one is refused with a figure, once."""

import logging
import re
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from pipeline.model import varlen_check
from pipeline.model.attention import Route, span_attention
from pipeline.model.varlen_check import Heads, is_trusted, largest_error, refusal
from tests.pipeline.kernels import WRONG, put_in_place, stand_in

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    yield
    refusal.cache_clear()


def heads(*, causal: bool = True, dtype: torch.dtype = torch.bfloat16, query: int = 4, key: int = 2, depth: int = 16) -> Heads:
    return Heads(device=CPU, dtype=dtype, query=query, key=key, depth=depth, causal=causal)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("sizes", [(4, 2, 16), (12, 2, 128), (16, 16, 80)], ids=str)
@pytest.mark.parametrize("causal", [True, False])
def test_a_right_kernel_is_trusted(
    monkeypatch: pytest.MonkeyPatch, causal: bool, sizes: tuple[int, int, int], dtype: torch.dtype
) -> None:
    """With room to spare: half of what is allowed would do. And it is not so small that nothing was compared."""
    put_in_place(monkeypatch, stand_in)
    asked = heads(causal=causal, dtype=dtype, query=sizes[0], key=sizes[1], depth=sizes[2])
    assert 0.0 < largest_error(asked) < varlen_check.TOLERANCE_STEPS / 2 * torch.finfo(dtype).eps
    assert is_trusted(asked)


@pytest.mark.parametrize("name", sorted(WRONG))
def test_a_wrong_kernel_is_refused_and_warned_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    put_in_place(monkeypatch, WRONG[name])
    with caplog.at_level(logging.WARNING):
        assert [is_trusted(heads()) for _ in range(3)] == [False] * 3
    (record,) = caplog.records
    figure = "no kernel for this device)" if name == "missing" else "of the largest value, and 0.0312 is allowed"
    assert figure in record.getMessage() and "4/2 heads of 16 in bfloat16" in record.getMessage()


@pytest.mark.parametrize("name", ["first_two_are_one", "one_row_late", "wrong_gradient"])
def test_a_wrong_kernel_is_refused_for_pictures_too(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    put_in_place(monkeypatch, WRONG[name])
    assert not is_trusted(heads(causal=False, key=4))


def test_without_a_gpu_or_half_precision_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_place(monkeypatch, WRONG["missing"])
    assert not is_trusted(heads(dtype=torch.float32))
    monkeypatch.undo()
    refusal.cache_clear()
    assert not is_trusted(heads())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_check_runs_where_gradients_are_off_and_leaves_the_random_state(
    monkeypatch: pytest.MonkeyPatch, mode: type[torch.no_grad]
) -> None:
    put_in_place(monkeypatch, stand_in)
    state = torch.random.get_rng_state()
    with mode():
        assert is_trusted(heads())
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_check_may_run_inside_a_checkpointed_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The replay of the layer does not check again, and must find what it saved the first time."""
    put_in_place(monkeypatch, stand_in)
    weight = torch.ones(3, requires_grad=True)
    answers = []

    def layer(states: torch.Tensor) -> torch.Tensor:
        answers.append(is_trusted(heads()))
        return (states * 2.0).sin()

    checkpoint(layer, weight, use_reentrant=False).sum().backward()
    assert answers == [True, True]
    torch.testing.assert_close(weight.grad, 2.0 * torch.full((3,), 2.0).cos())


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("sizes", [(12, 2, 128), (28, 4, 128), (16, 16, 80)], ids=str)
def test_torchs_kernel_is_trusted_on_this_gpu(sizes: tuple[int, int, int], dtype: torch.dtype) -> None:
    """The heads of Qwen2-VL-2B and 7B, and of their tower."""
    for causal in (True, False):
        asked = Heads(device=torch.device("cuda", 0), dtype=dtype, query=sizes[0], key=sizes[1], depth=sizes[2], causal=causal)
        assert is_trusted(asked), largest_error(asked)


@pytest.mark.gpu
@pytest.mark.parametrize("queries", [1, 8])
@pytest.mark.parametrize("sizes", [(12, 2, 128), (28, 4, 128)], ids=str)
def test_masked_decoding_with_grouped_heads_has_a_fused_kernel_on_this_gpu(sizes: tuple[int, int, int], queries: int) -> None:
    """As a row that continues a cache asks for it; the plain kernel, which writes all scores to memory, is forbidden.

    Where it fails, decoding falls to that kernel in silence: give it as many key heads as query heads.
    """
    query, key, depth = sizes
    device, dtype = torch.device("cuda", 0), torch.bfloat16
    q = torch.randn(4, query, queries, depth, device=device, dtype=dtype)
    k, v = (torch.randn(4, key, 300, depth, device=device, dtype=dtype) for _ in range(2))
    visible = torch.ones(4, 1, queries, 300, dtype=torch.bool, device=device).tril(300 - queries)
    with torch.no_grad(), sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION]):
        out, _ = span_attention(torch.nn.Module(), q, k, v, None, visible=visible, scaling=depth**-0.5)
    assert out.shape == (4, queries, query, depth)


def test_the_route_is_told_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a model's config: the kernel where it passes its check, else why it did not."""
    config = SimpleNamespace(num_attention_heads=4, num_key_value_heads=2, hidden_size=64)
    put_in_place(monkeypatch, stand_in)
    good = Route.of(config, CPU, torch.bfloat16)
    assert good.is_kernel and str(good) == "the variable-length kernel"
    put_in_place(monkeypatch, WRONG["first_two_are_one"])
    bad = Route.of(config, CPU, torch.bfloat16)
    assert not bad.is_kernel and re.fullmatch(r"one call for each length of sequences \(it is off by .* is allowed\)", str(bad))
    assert "float32 on cpu" in str(Route.of(config, CPU, torch.float32))
