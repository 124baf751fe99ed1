"""The stochastic compression language-modelling loss (CREM, Eq. 4): sums over tokens, divided once over the global batch.

Chunks and ranks only add to sums; the divisor counts the whole global batch. So it is never a mean of chunk means or of rank
means.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from pipeline.batch import OWN
from pipeline.errors import ConfigError


class LanguageLoss(ABC):
    """How the losses of scored tokens become one: what a row counts, what sums are divided by, what a token weighs.

    A token's loss is its negative log likelihood; where `has_reference`, the KL divergence of the model's distribution of the
    token from its own where nothing is hidden, which has no gradient and no dropout.
    """

    __slots__ = ()

    has_reference: ClassVar[bool] = False

    @abstractmethod
    def units(self, num_scored: int) -> float:
        """What a row with that many scored tokens adds to the divisor of its group."""

    @abstractmethod
    def divisors(self, units: torch.Tensor, num_pairs: int) -> torch.Tensor:
        """What the sums of each group (num_groups,) are divided by, from the units (num_groups,) of the *global* batch and its
        number of pairs, whether these have embeddings at the step or not."""

    @abstractmethod
    def sums(self, token_losses: torch.Tensor, row_tokens: torch.Tensor, groups: torch.Tensor, num_groups: int) -> torch.Tensor:
        """Sums (num_groups,) of token losses (S,), to be divided by `divisors`.

        `row_tokens` (S,) is the number of scored tokens in each token's row, `groups` (S,) its group.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class NextToken(LanguageLoss):
    """`sample_mean`: mean over a sample's tokens, then over samples (Eq. 4); `token_mean`: mean over all tokens.

    `apart` adds the mean over a pair's own questions and the mean over outside conversations, whatever their numbers (the paper
    computes them independently); `together` takes one mean over both. The paper does not say how the two are weighed.
    `per` says what the means over a pair's rows are divided by: by the rows that have something to say ("asked"), or by the pairs
    of the batch ("pairs": Bottleneck Tokens' code), so that a batch with few of them weighs less. Its code computes the mean over
    a chunk's tokens, which depends on the chunks; this is what it gives at one row a chunk.
    """

    mean: Literal["sample_mean", "token_mean"] = "sample_mean"
    groups: Literal["apart", "together"] = "apart"
    per: Literal["asked", "pairs"] = "asked"

    def __post_init__(self) -> None:
        if self.per == "pairs" and (self.mean, self.groups) != ("sample_mean", "apart"):
            raise ConfigError(
                "language.per: pairs takes rows' own means, apart; set language.mean=sample_mean, language.groups=apart"
            )

    def units(self, num_scored: int) -> float:
        """One sample, or its tokens."""
        return float(num_scored > 0) if self.mean == "sample_mean" else float(num_scored)

    def divisors(self, units: torch.Tensor, num_pairs: int) -> torch.Tensor:
        """The units of each group, or of all together; of the own group all pairs, where `per` says so."""
        counts = units if self.groups == "apart" else units.sum().expand_as(units)
        if self.per == "pairs":
            counts = torch.where(torch.arange(len(units), device=units.device) == OWN, float(num_pairs), counts)
        return counts.clamp(min=1.0)

    def sums(self, token_losses: torch.Tensor, row_tokens: torch.Tensor, groups: torch.Tensor, num_groups: int) -> torch.Tensor:
        """Each token weighs as much as another, or as much as its share of its row."""
        weights = 1.0 / row_tokens if self.mean == "sample_mean" else torch.ones_like(token_losses)
        return torch.zeros(num_groups, device=token_losses.device).index_add(0, groups, token_losses * weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class KLToUncompressed(NextToken):
    """Self-distillation: answers behind the tokens are to be as likely as where the context is seen (an ablation of CoMa).

    Its direction is the usual one, from the uncompressed distribution p: sum p (log p - log q). Each row is read once more,
    without a graph. Held-out figures stay negative log likelihoods, so that they can be held against other losses'.
    """

    has_reference: ClassVar[bool] = True
