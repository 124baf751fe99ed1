"""How the pictures of a step reach the model: as pixels where its tower is trained, as features where the tower is frozen.

A frozen tower yields the same features in both passes of gradient caching, so each picture goes through it once a step, before
the first pass over its chunk, and the features stay until the chunk's last pass. They take 2 D bytes a visual token in
bfloat16: 4 GB a rank for 1,024 pairs of 1,280 tokens at 2B.
"""

from dataclasses import dataclass, field, replace
from typing import Protocol

import torch

from pipeline.batch import Batch
from pipeline.model.embedder import Embedder
from pipeline.model.tower import FrozenTower
from pipeline.phase import Features
from pipeline.train.dataloader.step_work import Chunk


class Vision(Protocol):
    """What stands between a step's chunks and the model."""

    def see(self, batch: Batch) -> Batch:
        """A batch on its own (held-out rows), ready for the model."""

    def seen_once(self, batch: Batch) -> Batch:
        """A batch that several passes without a graph read, ready for all of them: its pictures go through the tower here."""

    def full(self, chunk: Chunk) -> Batch:
        """A chunk's whole rows, ready for the model."""

    def prefix(self, chunk: Chunk) -> Batch:
        """A chunk's embedded rows, ended at their pooled tokens, ready for the model."""

    def forget(self, chunk: Chunk) -> None:
        """The chunk was seen for the last time."""


@dataclass(slots=True)
class Inside:
    """The model has its tower and trains it: it takes pixels.

    `module` is the model, or None under ZeRO-3, where a call of the tower gathers its weights from all ranks: these make equally
    many whole passes, but would not make equally many calls of the tower alone.
    """

    module: Embedder | None = None

    def see(self, batch: Batch) -> Batch:
        """The batch as it is."""
        return batch

    @torch.no_grad()
    def seen_once(self, batch: Batch) -> Batch:
        """The batch with features in place of pixels; under ZeRO-3 as it is."""
        if self.module is None or not batch.pixels:
            return batch
        dtype = next(self.module.backbone.tower.parameters()).dtype
        return with_features(batch, self.module.features(batch, dtype))

    def full(self, chunk: Chunk) -> Batch:
        """The whole rows as they are."""
        return chunk.full

    def prefix(self, chunk: Chunk) -> Batch:
        """The shortened rows with their pixels."""
        return chunk.prefix_with_pixels()

    def forget(self, chunk: Chunk) -> None:
        """Nothing was cached."""


@dataclass(slots=True)
class Recomputed:
    """Features are made for each pass anew: the tower's time twice, and no memory."""

    tower: FrozenTower

    def see(self, batch: Batch) -> Batch:
        """The batch with features in place of pixels."""
        return with_features(batch, self.tower(batch)) if batch.pixels else batch

    seen_once = see

    def full(self, chunk: Chunk) -> Batch:
        """The whole rows with features."""
        return self.see(chunk.full)

    def prefix(self, chunk: Chunk) -> Batch:
        """The shortened rows with features."""
        return self.see(chunk.prefix_with_pixels())

    def forget(self, chunk: Chunk) -> None:
        """Nothing was cached."""


@dataclass(slots=True)
class Cached(Recomputed):
    """Features of a chunk are made once and cached on a device: the model's, or the host's for a slower way back."""

    cache_device: torch.device
    made: dict[Chunk, torch.Tensor] = field(default_factory=dict)

    def full(self, chunk: Chunk) -> Batch:
        """The whole rows with features."""
        return with_features(chunk.full, self._features(chunk)) if chunk.full.pixels else chunk.full

    def prefix(self, chunk: Chunk) -> Batch:
        """The shortened rows with their part of the chunk's features."""
        assert chunk.prefix is not None
        if not len(chunk.prefix.grid_thw):
            return chunk.prefix
        features = self._features(chunk)
        return with_features(chunk.prefix, features[chunk.prefix_features.to(features.device)])

    def forget(self, chunk: Chunk) -> None:
        """Free the chunk's features."""
        self.made.pop(chunk, None)

    def _features(self, chunk: Chunk) -> torch.Tensor:
        if chunk not in self.made:
            self.made[chunk] = self.tower(chunk.full).to(self.cache_device)
        return self.made[chunk].to(self.tower.device)


def with_features(batch: Batch, features: torch.Tensor) -> Batch:
    """The batch with features (V, D) in place of its pixels, which then never travel to the model's device."""
    return replace(batch, pixels=(), features=features)


def outside(tower: FrozenTower, keep: Features) -> Vision:
    """A frozen tower's features, cached where the phase says."""
    if keep == "recomputed":
        return Recomputed(tower)
    return Cached(tower, tower.device if keep == "device" else torch.device("cpu"))
