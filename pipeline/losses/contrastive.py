"""Contrastive losses over the gathered global batch: InfoNCE (CREM, Eq. 3), and the base of a user's own."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn.functional import cross_entropy

from pipeline.errors import ConfigError


class ContrastiveLoss(ABC):
    """What embeddings of pairs are trained by. It has no weights of its own."""

    __slots__ = ()

    @abstractmethod
    def __call__(
        self, queries: torch.Tensor, candidates: torch.Tensor, items: torch.Tensor, owners: torch.Tensor
    ) -> torch.Tensor:
        """The loss, a mean over queries (Q, D), against candidates (Q + H, D); candidate i is the positive of query i.

        Both are float32 of unit norm; `items` (Q + H,) int64 are equal where candidates are the same item. `owners` (Q + H,)
        int64 say whose candidate each is: i for the positive of query i, the query's number for a hard negative (-1 where
        that query could not be read).
        """

    def logged(self) -> Mapping[str, float]:
        """Settings that the log of steps repeats, by name."""
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class InfoNCE(ContrastiveLoss):
    """Cosine similarities at a fixed temperature; other pairs' positives and hard negatives are the negatives.

    Hard negatives are those of every query ("shared", as in the public code of the methods here), or each of its own query alone
    ("own"). With `mask_duplicates` a candidate that is the same item as a query's positive (a label that occurs twice in the
    batch) is no negative of that query. The paper does not mask.
    """

    temperature: float = 0.02
    mask_duplicates: bool = False
    hard: Literal["shared", "own"] = "shared"

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ConfigError(f"contrastive.temperature: {self.temperature} is not greater than 0")

    def __call__(
        self, queries: torch.Tensor, candidates: torch.Tensor, items: torch.Tensor, owners: torch.Tensor
    ) -> torch.Tensor:
        """Mean over queries (Q, D) of -log softmax against candidates (Q + H, D); see `ContrastiveLoss`.

        Equal embeddings of different items give log(Q + H).
        """
        scores = queries @ candidates.T / self.temperature
        targets = torch.arange(len(queries), device=scores.device)
        if self.hard == "own":
            others = owners[None] != targets[:, None]
            others[:, : len(queries)] = False
            scores = scores.masked_fill(others, float("-inf"))
        if self.mask_duplicates:
            same = items[: len(queries), None] == items[None]
            same[targets, targets] = False
            scores = scores.masked_fill(same, float("-inf"))
        return cross_entropy(scores, targets)

    def logged(self) -> Mapping[str, float]:
        """The temperature."""
        return {"temperature": self.temperature}


def precision_at_1(queries: torch.Tensor, candidates: torch.Tensor) -> float:
    """Share of queries whose positive scores highest; k candidates tied at the top count 1 / k: a collapsed model gets chance."""
    scores = queries @ candidates.T
    best = scores.max(dim=1, keepdim=True).values
    tied = scores >= best
    hits = tied.diagonal().float() / tied.sum(dim=1)
    return float(hits.mean())
