"""Poolings against their definitions: worked by hand, and written out as plain loops."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.errors import ConfigError
from pipeline.model.pooling import AttentionPool, LastToken, MeanOver, MLPMean, Pooling
from pipeline.roles import Layout, Role
from tests.pipeline.corpus import small_recipe

ROLES = np.array([0, 1, 1, 2, 2, 2, 3, 4], dtype=np.int8)
LEARNT = (MLPMean(), AttentionPool())


def filled(pooling: Pooling, width: int) -> nn.Module:
    """A pooling with random weights."""
    module = pooling.build(width)
    assert isinstance(module, nn.Module)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module


@pytest.mark.parametrize("pooling", [MeanOver(), MLPMean(), AttentionPool()])
def test_poolings_over_the_compression_tokens_read_all_of_them(pooling: Pooling) -> None:
    assert pooling.positions(ROLES).tolist() == [3, 4, 5]


def test_mean_over_the_compression_tokens() -> None:
    states = torch.arange(12.0).reshape(1, 3, 4)
    assert MeanOver().build(4)(states).tolist() == [[4.0, 5.0, 6.0, 7.0]]


def test_last_token_of_the_context() -> None:
    assert LastToken(Role.CONTEXT).positions(ROLES).tolist() == [2]
    assert LastToken().build(4)(torch.arange(4.0).reshape(1, 1, 4)).tolist() == [[0.0, 1.0, 2.0, 3.0]]


def test_the_mlp_runs_on_each_token_before_the_mean() -> None:
    """One embedding of two tokens and two numbers, every product in sight."""
    module = filled(MLPMean(), 2)
    numbers = {name: parameter.tolist() for name, parameter in module.named_parameters()}
    states = [[0.5, -1.0], [2.0, 0.25]]

    def bent(x: float) -> float:  # the exact GELU
        return x * 0.5 * (1.0 + math.erf(x / math.sqrt(2.0)))

    def layer(name: str, vector: list[float]) -> list[float]:
        rows, bias = numbers[f"{name}.weight"], numbers[f"{name}.bias"]
        return [sum(w * x for w, x in zip(row, vector, strict=True)) + b for row, b in zip(rows, bias, strict=True)]

    each = [layer("outer", [bent(x) for x in layer("inner", state)]) for state in states]
    expected = [(each[0][n] + each[1][n]) / 2 for n in range(2)]
    torch.testing.assert_close(module(torch.tensor([states])), torch.tensor([expected]), atol=1e-6, rtol=1e-6)


def test_attention_of_a_query_by_hand() -> None:
    """D = 4, so scores are halved: 2 ln 3 and 0 become weights 3 : 1."""
    module = AttentionPool().build(4)
    assert isinstance(module, nn.Module)
    with torch.no_grad():
        module.query.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))
    states = torch.tensor([[[2 * math.log(3.0), 4.0, 0.0, 8.0], [0.0, 0.0, 4.0, 8.0]]])
    expected = torch.tensor([[1.5 * math.log(3.0), 3.0, 1.0, 8.0]])
    torch.testing.assert_close(module(states), expected, atol=1e-6, rtol=1e-6)


def test_attention_starts_as_the_mean_and_has_a_gradient_there() -> None:
    states = torch.randn(5, 3, 8, generator=torch.Generator().manual_seed(0))
    module = AttentionPool().build(8)
    assert isinstance(module, nn.Module)
    pooled = module(states)
    torch.testing.assert_close(pooled, states.mean(dim=1))
    pooled.square().sum().backward()
    assert float(module.query.grad.abs().min()) > 0


@pytest.mark.parametrize("pooling", LEARNT)
def test_learnt_poolings_compute_in_float32_and_take_part_without_embeddings(pooling: Pooling) -> None:
    module = filled(pooling, 8)
    states = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(1)).bfloat16()
    expected = module(states.float())
    assert expected.dtype == torch.float32 and torch.equal(module(states), expected)
    assert module.bfloat16()(states).dtype == torch.float32  # the engine's working copy may be lower
    none = module(torch.zeros(0, 1, 8))
    assert none.shape == (0, 8)
    none.sum().backward()
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("pooling", "message"),
    [
        (MeanOver(Role.CONTEXT), r"pooling\.role: MeanOver pools COMPRESSION, which every row has, not CONTEXT"),
        (AttentionPool(Role.SYSTEM), r"pooling\.role: AttentionPool pools COMPRESSION"),
        (LastToken(Role.ANSWER), r"pooling\.role: LastToken pools CONTEXT or COMPRESSION"),
    ],
)
def test_roles_that_not_every_row_has_are_refused(pooling: Pooling, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(small_recipe(), pooling=pooling)


def test_an_absent_role_is_refused() -> None:
    layout = Layout(order=(Role.SYSTEM, Role.CONTEXT, Role.QUESTION, Role.ANSWER))
    with pytest.raises(ConfigError, match=r"pooling\.role: COMPRESSION is not in layout\.order"):
        small_recipe().with_phase(layout=layout)
