"""The head's losses in pieces against one plain cross entropy, and what they keep."""

from unittest import mock

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from pipeline.model import head as module
from pipeline.model.head import Head
from pipeline.train.saved_bytes import SavedBytes

WIDTH, VOCABULARY = 8, 50


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(WIDTH, VOCABULARY, bias=False)


@pytest.mark.parametrize("scored", [0, 1, 3, 4, 11])
def test_pieces_give_the_losses_and_gradients_of_one_cross_entropy(scored: int) -> None:
    plain = linear()
    states, targets = torch.randn(scored, WIDTH), torch.randint(VOCABULARY, (scored,))
    upstream = torch.rand(scored)
    found = []
    for route in ("plain", "pieces"):
        inputs = states.clone().requires_grad_()
        plain.zero_grad()
        with mock.patch.object(module, "HEAD_ROWS", 3):
            logits = plain(inputs)
            losses = cross_entropy(logits, targets, reduction="none") if route == "plain" else Head.over(plain)(inputs, targets)
        (losses * upstream).sum().backward()
        assert inputs.grad is not None and plain.weight.grad is not None
        found.append((losses.detach(), inputs.grad, plain.weight.grad.clone()))
    torch.testing.assert_close(found[1], found[0], atol=1e-6, rtol=1e-6)


def test_logits_are_those_of_the_linear_map() -> None:
    plain, states = linear(), torch.randn(2, 5, WIDTH)
    assert torch.equal(Head.over(plain)(states), plain(states))


def test_no_logits_are_kept() -> None:
    head = Head.over(linear())
    states, targets = torch.randn(30, WIDTH, requires_grad=True), torch.randint(VOCABULARY, (30,))
    with SavedBytes([head.weight]) as meter:
        losses = head(states, targets)
        assert meter.now == states.nbytes + targets.nbytes
        losses.sum().backward()
        assert meter.now == 0


def test_the_head_is_called_once_however_many_pieces() -> None:
    """Under ZeRO-3 each call gathers weights, and all ranks must gather equally often."""
    head, calls = Head.over(linear()), []
    head.register_forward_pre_hook(lambda *_: calls.append(None))
    with mock.patch.object(module, "HEAD_ROWS", 2):
        head(torch.randn(9, WIDTH, requires_grad=True), torch.randint(VOCABULARY, (9,))).sum().backward()
    assert len(calls) == 1
