"""The language model's head, which can also give losses: then logits exist a few rows at a time and none are kept."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import cross_entropy, kl_div, linear, log_softmax
from torch.utils.checkpoint import checkpoint

HEAD_ROWS = 512
"""Scored positions whose logits exist at once."""

Losses = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Of states (S, D) and of what belongs to each: numbers (S,) float32."""


class Head(nn.Linear):
    """A map from states to logits over the vocabulary, without a bias.

    The losses are one call whatever the number of scored positions: ZeRO-3 gathers the weights once a call, so that ranks with
    more pieces than others would wait for each other forever.
    """

    @staticmethod
    def over(linear: nn.Linear) -> "Head":
        """The same map, sharing the weight."""
        head = Head(linear.in_features, linear.out_features, bias=False, device="meta")
        head.weight = linear.weight
        return head

    def forward(
        self, states: torch.Tensor, targets: torch.Tensor | None = None, reference: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Logits (..., V) of states (..., D); with targets (S,) of states (S, D) their negative log likelihoods (S,), float32.

        With the states (S, D) of a `reference`, in place of them the KL divergences (S,) of what follows the states from what
        follows its own: sum p (log p - log q), p being the reference's, without a gradient.

        No route keeps logits. A frozen head takes each position's gradient while its logits exist; a trained one keeps the
        states and computes the logits again in the backward pass, a third more of its time.
        """
        if targets is None:
            return super().forward(states)
        if reference is not None:
            return self._twice(self._divergences, states, reference)
        if not self.weight.requires_grad and states.requires_grad and torch.is_grad_enabled():
            losses: torch.Tensor = _OneVisit.apply(states, self.weight, targets)  # type: ignore[no-untyped-call]
            return losses
        return self.visited_twice(states, targets)

    def visited_twice(self, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Losses (S,) that keep states and targets for the backward pass."""
        return self._twice(self._losses, states, targets)

    def _twice(self, losses: Losses, states: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """Losses (S,) of states and what belongs to them, piece by piece, each computed again in the backward pass."""
        twice = partial(checkpoint, losses, use_reentrant=False, preserve_rng_state=False)
        return torch.cat([twice(*piece) for piece in _pieces(states, others)])

    def _losses(self, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return cross_entropy(super().forward(states).float(), targets, reduction="none")

    def _divergences(self, states: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            expected = log_softmax(super().forward(reference).float(), dim=-1)
        found = log_softmax(super().forward(states).float(), dim=-1)
        return kl_div(found, expected, reduction="none", log_target=True).sum(dim=-1)


class _OneVisit(torch.autograd.Function):
    """Losses (S,) of a frozen head, and their gradients (softmax - onehot) W of the states (S, D), from the same logits.

    What a loss weighs is not known yet, and need not be: it only scales its position's gradient.
    """

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        losses, gradients = [], []
        for piece, own in _pieces(states, targets):
            places = own.unsqueeze(1)
            log_likelihoods = log_softmax(linear(piece, weight).float(), dim=-1)
            losses.append(-log_likelihoods.gather(1, places).squeeze(1))
            slopes = log_likelihoods.exp_()
            slopes.scatter_add_(1, places, slopes.new_full(places.shape, -1.0))
            gradients.append(slopes.to(weight.dtype) @ weight)
        ctx.save_for_backward(torch.cat(gradients))
        return torch.cat(losses)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (gradients,) = ctx.saved_tensors
        return (upstream.unsqueeze(1) * gradients).to(gradients.dtype), None, None


def _pieces(states: torch.Tensor, targets: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """States and targets, `HEAD_ROWS` of them at a time."""
    return list(zip(torch.split(states, HEAD_ROWS), torch.split(targets, HEAD_ROWS), strict=True))
