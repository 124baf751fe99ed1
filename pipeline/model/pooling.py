"""Pooling: from the final states of a few positions to one embedding (CREM, Table 9, and VLM2Vec's last token).

A pooling is a value of a recipe, any frozen dataclass under `Pooling`; `build` makes what computes it. Ours compute in float32.
Weights that one has are held by the Embedder: trained, saved and restored like any other, and touched by every chunk, for zero
embeddings are pooled as any number.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import gelu, linear

from pipeline.batch import PoolPositions
from pipeline.roles import Role

Pool = Callable[[torch.Tensor], torch.Tensor]
"""States (E, K, D) of any type to embeddings (E, D) float32."""


class Pooling(ABC):
    """How a row's embedding is made of its final states."""

    __slots__ = ()

    @property
    @abstractmethod
    def positions(self) -> PoolPositions:
        """Which tokens of a row are pooled: K of them, for every row as many."""

    @abstractmethod
    def build(self, width: int) -> Pool:
        """What computes it, for states of `width` D: a module where it has weights."""


@dataclass(frozen=True, slots=True)
class _AllTokens(Pooling):
    """Pools every token of a role that all rows have equally many of."""

    role: Role = Role.COMPRESSION

    @property
    def positions(self) -> PoolPositions:
        """Which tokens of a row are pooled."""
        return PoolPositions(self.role)


@dataclass(frozen=True, slots=True)
class MeanOver(_AllTokens):
    """The mean of the states of one role's tokens (CREM: the compression tokens)."""

    def build(self, width: int) -> Pool:
        """It has no weights."""
        return _mean


@dataclass(frozen=True, slots=True)
class MLPMean(_AllTokens):
    """An MLP on each token's state, then the mean. Table 9 names no sizes: two layers of the state's width, GELU between."""

    def build(self, width: int) -> Pool:
        """The MLP for states of `width`, started by torch's own rule."""
        return TokenMLP(width)


@dataclass(frozen=True, slots=True)
class AttentionPool(_AllTokens):
    """Softmax attention of one learned query over the tokens' states, which are keys and values as they stand."""

    def build(self, width: int) -> Pool:
        """The query for states of `width`; at zero, where it starts, it is the mean."""
        return LearnedQuery(width)


@dataclass(frozen=True, slots=True)
class LastToken(Pooling):
    """The state of the last token of a role (VLM2Vec: the end of the context)."""

    role: Role = Role.CONTEXT

    @property
    def positions(self) -> PoolPositions:
        """Which tokens of a row are pooled."""
        return PoolPositions(self.role, last=True)

    def build(self, width: int) -> Pool:
        """It has no weights."""
        return _last


class TokenMLP(nn.Module):
    """mean over k of W2 gelu(W1 s_k + b1) + b2."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner, self.outer = _Linear32(width, width), _Linear32(width, width)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(E, K, D) -> (E, D) float32."""
        transformed: torch.Tensor = self.outer(gelu(self.inner(states.float())))
        return transformed.mean(dim=1)


class LearnedQuery(nn.Module):
    """sum over k of softmax_k(q . s_k / sqrt(D)) s_k."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(width))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(E, K, D) -> (E, D) float32."""
        keys = states.float()
        weights = (keys @ self.query.float() / math.sqrt(keys.shape[-1])).softmax(dim=1)
        return (weights[..., None] * keys).sum(dim=1)


class _Linear32(nn.Linear):
    """Computes in float32, in whatever type the engine keeps the working copy of its weights."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return linear(states, self.weight.float(), self.bias.float())


def _mean(states: torch.Tensor) -> torch.Tensor:
    return states.float().mean(dim=1)


def _last(states: torch.Tensor) -> torch.Tensor:
    return states[:, -1].float()
