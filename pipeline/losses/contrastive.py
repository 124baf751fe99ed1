"""InfoNCE over the gathered global batch (CREM, Eq. 3)."""

from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy


@dataclass(frozen=True, slots=True, kw_only=True)
class InfoNCE:
    """Cosine similarities at a fixed temperature; other pairs' positives and all hard negatives are the negatives."""

    temperature: float = 0.02

    def __call__(self, queries: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        """Mean over queries (Q, D) of -log softmax against candidates (Q + H, D); candidate i is the positive of query i.

        Both are float32 of unit norm. Equal embeddings give log(Q + H).
        """
        scores = queries @ candidates.T / self.temperature
        return cross_entropy(scores, torch.arange(len(queries), device=scores.device))


def precision_at_1(queries: torch.Tensor, candidates: torch.Tensor) -> float:
    """Share of queries whose positive scores highest; k candidates tied at the top count 1 / k: a collapsed model gets chance."""
    scores = queries @ candidates.T
    best = scores.max(dim=1, keepdim=True).values
    tied = scores >= best
    hits = tied.diagonal().float() / tied.sum(dim=1)
    return float(hits.mean())
