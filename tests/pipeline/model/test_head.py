"""The head's losses in pieces against one plain cross entropy, and what they keep."""

from unittest import mock

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from pipeline.model import head as module
from pipeline.model.head import Head
from pipeline.train.forecast.saved_bytes import SavedBytes

WIDTH, VOCABULARY = 8, 50


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(WIDTH, VOCABULARY, bias=False)


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("scored", [0, 1, 3, 4, 11])
def test_pieces_give_the_losses_and_gradients_of_one_cross_entropy(scored: int, trained: bool) -> None:
    plain = linear().requires_grad_(trained)
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
        assert inputs.grad is not None and (plain.weight.grad is not None) == trained
        found.append((losses.detach(), inputs.grad, plain.weight.grad.clone() if trained else None))
    torch.testing.assert_close(found[1], found[0], atol=1e-6, rtol=1e-6)


def test_a_frozen_head_in_bfloat16_is_as_near_to_the_exact_gradient_as_two_visits_are() -> None:
    exact, targets, upstream = linear().double(), torch.randint(VOCABULARY, (40,)), torch.rand(40)
    states = torch.randn(40, WIDTH).bfloat16()
    with torch.no_grad():
        exact.weight.copy_(exact.weight.bfloat16())

    def gradient(head: nn.Module, dtype: torch.dtype) -> torch.Tensor:
        inputs = states.to(dtype, copy=True).requires_grad_()
        losses = head(inputs, targets) if isinstance(head, Head) else cross_entropy(head(inputs), targets, reduction="none")
        assert losses.dtype in (torch.float32, torch.float64), "whatever the weights are"
        (losses * upstream.to(losses.dtype)).sum().backward()
        assert inputs.grad is not None and inputs.grad.dtype == dtype
        return inputs.grad.double()

    right = gradient(exact, torch.float64)
    wrong = {}
    for trained in (False, True):
        low = nn.Linear(WIDTH, VOCABULARY, bias=False, dtype=torch.bfloat16).requires_grad_(trained)
        low.load_state_dict(exact.state_dict())
        wrong[trained] = float((gradient(Head.over(low), torch.bfloat16) - right).norm() / right.norm())
    assert wrong[False] < 1.5 * wrong[True] < 0.02


def test_logits_are_those_of_the_linear_map() -> None:
    plain, states = linear(), torch.randn(2, 5, WIDTH)
    assert torch.equal(Head.over(plain)(states), plain(states))


@pytest.mark.parametrize("trained", [True, False])
def test_no_logits_are_kept(trained: bool) -> None:
    head = Head.over(linear().requires_grad_(trained))
    states, targets = torch.randn(30, WIDTH, requires_grad=True), torch.randint(VOCABULARY, (30,))
    with SavedBytes([head.weight]) as meter:
        losses = head(states, targets)
        # A trained head needs states and targets again; a frozen one keeps the states' gradients, which are as large.
        assert meter.now == states.nbytes + (targets.nbytes if trained else 0)
        losses.sum().backward()
        assert meter.now == 0


def test_a_frozen_head_sees_its_logits_once() -> None:
    """Two products: logits, and their gradient times the weight. With a second visit they would be three."""
    products = {}
    for trained in (False, True):
        head = Head.over(linear().requires_grad_(trained))
        states, targets = torch.randn(30, WIDTH, requires_grad=True), torch.randint(VOCABULARY, (30,))
        with FlopCounterMode(display=False) as counter:
            head(states, targets).sum().backward()
        products[trained] = counter.get_total_flops() / (2 * 30 * WIDTH * VOCABULARY)
    assert products == {False: 2, True: 4}


@pytest.mark.parametrize("trained", [True, False])
def test_the_head_is_called_once_however_many_pieces(trained: bool) -> None:
    """Under ZeRO-3 each call gathers weights, and all ranks must gather equally often."""
    head, calls = Head.over(linear().requires_grad_(trained)), []
    head.register_forward_pre_hook(lambda *_: calls.append(None))
    with mock.patch.object(module, "HEAD_ROWS", 2):
        head(torch.randn(9, WIDTH, requires_grad=True), torch.randint(VOCABULARY, (9,))).sum().backward()
    assert len(calls) == 1
