"""The model that training wraps: a packed batch in, embeddings and the losses of scored tokens out, in one forward pass."""

import copy
from functools import partial

import torch
from torch import nn
from torch.nn.functional import normalize

from pipeline.batch import Batch, Outputs
from pipeline.model.attention import SpanPlan
from pipeline.model.backbone import Backbone, Inputs
from pipeline.model.compression import Bank, TokenBank
from pipeline.model.dropout import TokenDropout, TokenNoise
from pipeline.model.families.family import Cutter
from pipeline.model.pooling import Pool
from pipeline.model.tower import FrozenTower, cut
from pipeline.visual_tokens import VisualTokens


class Embedder(nn.Module):
    """Backbone, compression tokens and pooling. COMPRESSION never sees what follows it, so one pass serves both losses."""

    def __init__(self, backbone: Backbone, bank: Bank, pooling: Pool, cutter: Cutter, elastic: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.elastic = elastic
        self.backbone, self.bank = backbone, bank
        self.pooling, self.cutter = pooling, cutter
        self.noise = TokenNoise()
        for dropout in (module for module in backbone.modules() if isinstance(module, TokenDropout)):
            dropout.noise = self.noise
        self.always_use_tower = False
        """Set on several ranks with a trained tower: its collectives must match, so a chunk without pictures calls it too."""

    @property
    def width(self) -> int:
        """Size D of an embedding."""
        return self.backbone.width

    @property
    def visual_tokens(self) -> VisualTokens:
        """How its pictures stand in a sequence."""
        return VisualTokens(merge=self.cutter.merge, rule=self.backbone.family.rule, shrinker=self.backbone.shrinker)

    @property
    def embedding_shape(self) -> tuple[int, ...]:
        """Of what is made of a row: (D,), or (k, D) where it is embedded at k numbers of tokens."""
        return (len(self.elastic), self.width) if self.elastic else (self.width,)

    def release_tower(self, device: torch.device, dtype: torch.dtype) -> FrozenTower:
        """Take the frozen tower out of the module, onto a device. Batches with pictures must then bring their features."""
        see = partial(self.backbone.family.features, shrinker=self.backbone.shrinker)
        return FrozenTower(self.backbone.release_tower(), see, self.cutter, device, dtype)

    def first_tokens(self, count: int) -> "Embedder":
        """The embedder of the first `count` compression tokens, over the same weights."""
        assert isinstance(self.bank, TokenBank), "the recipe has compression tokens"
        first = copy.copy(self)
        first._modules = {**self._modules, "bank": self.bank.first(count)}
        return first

    def checkpoint_layers(self) -> None:
        """Keep only the inputs of the layers in training and run each layer again in the backward pass (not reentrant)."""
        how = {"use_reentrant": False, "preserve_rng_state": False, "context_fn": self.noise.recomputed}
        self.backbone.model.activation_checkpointing_enable(activation_checkpointing_kwargs=how)

    def forward(self, batch: Batch) -> Outputs:
        """Embeddings (E, D), or (E, k, D) at k numbers of tokens, of unit norm, and token losses (S,), both float32."""
        inputs = self.inputs(batch)
        reference = self._reference(inputs.detached(), batch)
        with self.noise.of(batch.token_noise):
            states = self.backbone.hidden(inputs, batch.position_ids, SpanPlan.of(batch.spans))
        losses = self.backbone.token_losses(states[batch.score_index], batch.score_target, reference)
        return Outputs(self.pool(states, batch), losses)

    @torch.no_grad()
    def _reference(self, inputs: Inputs, batch: Batch) -> torch.Tensor | None:
        """Final states (S, D) before the scored tokens where nothing is hidden, without dropout; None where no loss asks."""
        if batch.reference is None:
            return None
        trains = self.backbone.training
        self.backbone.eval()
        states = self.backbone.hidden(inputs, batch.position_ids, SpanPlan.of(batch.reference))
        self.backbone.train(trains)
        return states[batch.score_index]

    def pool(self, states: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Embeddings (E, D), or (E, k, D), of unit norm, float32, from the final states (T, D) of a packed batch."""
        pooled = states[batch.pool_index]
        if not self.elastic:
            return normalize(self.pooling(pooled), dim=-1)
        return torch.stack([normalize(self.pooling(pooled[:, :count]), dim=-1) for count in self.elastic], dim=1)

    def inputs(self, batch: Batch) -> Inputs:
        """Rows of the table, compression rows, visual features in their places."""
        rows = self.backbone.embed_tokens(self.bank.table_ids(batch.input_ids))
        embeddings: torch.Tensor = self.bank(batch.input_ids, rows)
        if batch.features is not None:
            return self._placed(embeddings, batch.image_index, batch.features.to(embeddings.dtype))
        if not batch.pixels:
            assert not len(batch.image_index), "its pictures have neither pixels nor features"
            return Inputs(embeddings + 0.0 * self._dummy_features(embeddings).sum() if self.always_use_tower else embeddings)
        return self._placed(embeddings, batch.image_index, self.features(batch, embeddings.dtype))

    def features(self, batch: Batch, dtype: torch.dtype) -> torch.Tensor:
        """Features (V, levels * D) of a batch's pictures, of which it has some, by the module's own tower of type `dtype`."""
        return self.backbone.features(cut(self.cutter, batch.pixels).to(dtype), batch.grid_thw)

    def _placed(self, embeddings: torch.Tensor, places: torch.Tensor, features: torch.Tensor) -> Inputs:
        """The first level of features (V, levels * D) in its places, and the others beside it."""
        first, *deeper = torch.split(features, self.width, dim=1)
        placed = embeddings.index_put((places,), first)
        return Inputs(placed, places, tuple(deeper)) if deeper else Inputs(placed)

    def _dummy_features(self, like: torch.Tensor) -> torch.Tensor:
        """Features of one black picture, the smallest there is.

        Device and type come from a tensor: under ZeRO-3 even looking at a weight starts a gather, and other ranks do not look.
        """
        side = self.cutter.side
        black = torch.zeros(1, 3, side, side, dtype=torch.uint8, device=like.device)
        grid = torch.tensor([[1, side // self.cutter.patch, side // self.cutter.patch]], device=like.device)
        return self.backbone.features(self.cutter(black).to(like.dtype), grid)
