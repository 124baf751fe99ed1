"""Pooling: from the final states of a few positions to one embedding."""

from dataclasses import dataclass

import torch

from pipeline.batch import PoolPositions
from pipeline.roles import Role


@dataclass(frozen=True, slots=True)
class MeanOver:
    """The mean of the states of one role's tokens (CREM: the compression tokens)."""

    role: Role = Role.COMPRESSION

    @property
    def positions(self) -> PoolPositions:
        """Which tokens of a row are pooled."""
        return PoolPositions(self.role)

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """(E, K, D) -> (E, D), in float32."""
        return states.float().mean(dim=1)


@dataclass(frozen=True, slots=True)
class LastToken:
    """The state of the last token of a role (VLM2Vec: the end of the context)."""

    role: Role = Role.CONTEXT

    @property
    def positions(self) -> PoolPositions:
        """Which tokens of a row are pooled."""
        return PoolPositions(self.role, last=True)

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """(E, 1, D) -> (E, D), in float32."""
        return states[:, -1].float()


Pooling = MeanOver | LastToken
