"""The model that training wraps: a packed batch in, embeddings and the losses of scored tokens out, in one forward pass."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize
from torch.utils.checkpoint import checkpoint

from pipeline.batch import Batch, Outputs
from pipeline.model.attention import SpanPlan
from pipeline.model.backbone import Backbone
from pipeline.model.compression import TokenBank
from pipeline.model.inputs import PatchCutter
from pipeline.model.pooling import Pooling

HEAD_ROWS = 4096
"""Scored positions whose logits exist at once; more are done in pieces and computed again in the backward pass."""


class Embedder(nn.Module):
    """Backbone, compression tokens and pooling. COMPRESSION never sees what follows it, so one pass serves both losses."""

    def __init__(self, backbone: Backbone, bank: TokenBank, pooling: Pooling, cutter: PatchCutter) -> None:
        super().__init__()
        self.backbone, self.bank = backbone, bank
        self.pooling, self.cutter = pooling, cutter

    @property
    def width(self) -> int:
        """Size D of an embedding."""
        return int(self.backbone.text.config.hidden_size)

    def forward(self, batch: Batch) -> Outputs:
        """Embeddings (E, D) of unit norm and token losses (S,), both float32."""
        states = self.backbone.hidden(self.input_embeddings(batch), batch.position_ids, SpanPlan.of(batch.spans))
        pooled = normalize(self.pooling(states[batch.pool_index]), dim=-1)
        return Outputs(pooled, self._token_losses(states[batch.score_index], batch.score_target))

    def input_embeddings(self, batch: Batch) -> torch.Tensor:
        """Embeddings (T, D): rows of the table, compression rows, visual features in their places."""
        embeddings = self.bank(batch.input_ids, self.backbone.embed_tokens(batch.input_ids))
        if not batch.pixels:
            return embeddings
        patches = torch.cat([self.cutter(stack) for stack in batch.pixels])
        features = self.backbone.features(patches, batch.grid_thw)
        return embeddings.index_put((batch.image_index,), features.to(embeddings.dtype))

    def _token_losses(self, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Negative log likelihoods (S,) float32; the head sees scored rows only, in pieces."""
        pieces = list(zip(states.split(HEAD_ROWS), targets.split(HEAD_ROWS), strict=True))
        if len(pieces) <= 1:
            return self._piece_losses(states, targets)
        return torch.cat([checkpoint(self._piece_losses, s, t, use_reentrant=False) for s, t in pieces])

    def _piece_losses(self, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return cross_entropy(self.backbone.logits(states).float(), targets, reduction="none")
