"""The language model's head, which can also give losses: then logits exist a few rows at a time and none are kept."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

HEAD_ROWS = 512
"""Scored positions whose logits exist at once."""


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

    def forward(self, states: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor:
        """Logits (..., V) of states (..., D); with targets (S,) of states (S, D) their negative log likelihoods (S,), float32.

        Losses keep states alone for the backward pass, which computes the logits again: a third more of the head's time, and
        4 V bytes less for each scored position.
        """
        if targets is None:
            return super().forward(states)
        pieces = zip(torch.split(states, HEAD_ROWS), torch.split(targets, HEAD_ROWS), strict=True)
        return torch.cat([checkpoint(self._losses, *piece, use_reentrant=False, preserve_rng_state=False) for piece in pieces])

    def _losses(self, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return cross_entropy(super().forward(states).float(), targets, reduction="none")
