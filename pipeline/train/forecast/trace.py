"""What a chunk keeps for its backward pass, found by running the recipe's model on the meta device.

Nothing is computed and no weight exists, so a model of any size takes seconds; what is counted is what the training step runs.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.batch import Batch
from pipeline.model.adapters import attach
from pipeline.model.attention import SpanPlan
from pipeline.model.backbone import Backbone, Inputs
from pipeline.model.compression import make_bank
from pipeline.model.embedder import Embedder
from pipeline.model.head import HEAD_ROWS
from pipeline.model.outline import outline_model
from pipeline.recipe import Recipe
from pipeline.train.build import DTYPES
from pipeline.train.engine import linear_as_run
from pipeline.train.forecast.saved_bytes import SavedBytes

META = torch.device("meta")


def outline_embedder(folder: Path, recipe: Recipe) -> Embedder:
    """The recipe's model over a folder's config, without weights, with what it trains marked. All in the phase's type."""
    dtype = DTYPES[recipe.phase.dtype]
    backbone = Backbone(outline_model(folder, dtype=dtype), recipe.vision)
    count, table = recipe.tokens.count, backbone.text.embed_tokens.weight
    with META:
        bank = make_bank(torch.empty(count, backbone.width, dtype=dtype), range(backbone.vocab_size, backbone.vocab_size + count))
        attach(recipe.phase.adapter, backbone.text, backbone.model.lm_head)
        pooling = recipe.pooling.build(backbone.width)
    recipe.tokens.mark(bank, table)
    backbone.tower.requires_grad_(recipe.phase.tower == "trained")
    return Embedder(backbone, bank, pooling, backbone.family.cutter({}, backbone.model.config), recipe.tokens.elastic).to(dtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkBytes:
    """Of one chunk: what the `text`'s and the `tower`'s graphs keep for its backward pass.

    `text_layer` and `tower_layer` are what one layer keeps where nothing is checkpointed: the most that exists of it at once.
    `head` are logits while they exist. A frozen tower makes no graph.
    """

    text: int
    tower: int
    text_layer: int
    tower_layer: int
    head: int

    @property
    def kept(self) -> int:
        """All that a graph keeps."""
        return self.text + self.tower


def chunk_bytes(embedder: Embedder, batch: Batch, recipe: Recipe) -> ChunkBytes:
    """Run a chunk through the model on the meta device, without computing anything."""
    whole = _kept(embedder, batch, recipe)
    kept = whole
    if recipe.phase.gradient_checkpointing:
        embedder.checkpoint_layers()
        kept = _kept(embedder, batch, recipe)
        embedder.backbone.model.activation_checkpointing_disable()
    itemsize = embedder.backbone.text.embed_tokens.weight.itemsize
    return ChunkBytes(
        text=kept[0],
        tower=kept[1],
        text_layer=whole[0] // embedder.backbone.text.config.num_hidden_layers,
        tower_layer=whole[1] // embedder.backbone.tower_shape.layers,
        head=min(len(batch.score_index), HEAD_ROWS) * embedder.backbone.vocab_size * _logit_bytes(batch, itemsize),
    )


def _logit_bytes(batch: Batch, itemsize: int) -> int:
    """Of a logit, in the weights' type and in float32, and the gradient of the latter; where losses compare with a reference,
    also both log likelihoods and the products that are summed."""
    return itemsize + 4 + 4 + (0 if batch.reference is None else 3 * 4)


def _kept(embedder: Embedder, batch: Batch, recipe: Recipe) -> tuple[int, int]:
    """Bytes that the language model, its pooling and its head keep, and those that the tower keeps."""
    with linear_as_run(recipe.phase):
        return _kept_by_text(embedder.train(), batch.to(META)), _kept_by_tower(embedder, batch.grid_thw)


def _kept_by_text(embedder: Embedder, batch: Batch) -> int:
    backbone = embedder.backbone
    dtype = backbone.text.embed_tokens.weight.dtype
    embeddings = torch.empty(len(batch.input_ids), embedder.width, dtype=dtype, device=META, requires_grad=True)
    with SavedBytes([*embedder.parameters(), *embedder.buffers()]) as meter:
        with embedder.noise.of(batch.token_noise):
            states = backbone.hidden(Inputs(embeddings), batch.position_ids, SpanPlan.of(batch.spans))
        scored = states[batch.score_index]
        reference = None if batch.reference is None else scored.detach()
        graphs = embedder.pool(states, batch), backbone.token_losses(scored, batch.score_target, reference)
        kept = meter.now
        del graphs
    return kept


def _kept_by_tower(embedder: Embedder, grids: torch.Tensor) -> int:
    """Of pictures with grids (I, 3), which stay on the CPU: the tower reads their numbers."""
    tower = embedder.backbone.tower
    if not any(weight.requires_grad for weight in tower.parameters()) or not len(grids):
        return 0
    with SavedBytes([*embedder.parameters(), *embedder.buffers()]) as meter:
        features = embedder.backbone.family.outline(tower, grids, embedder.backbone.shrinker)
        kept = meter.now
        del features
    return kept
