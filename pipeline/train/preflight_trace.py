"""What a chunk costs, found by running the recipe's model on the meta device: bytes kept for the backward pass, and FLOPs.

Nothing is computed and no weight exists, so a model of any size takes seconds; what is counted is what the training step runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from pipeline.batch import Batch, Row, pack, truncate
from pipeline.model.attention import SpanPlan
from pipeline.model.backbone import CLIP_MEAN, CLIP_STD, Backbone
from pipeline.model.compression import make_bank
from pipeline.model.embedder import Embedder
from pipeline.model.head import HEAD_ROWS
from pipeline.model.inputs import PatchCutter
from pipeline.model.outline import outline_model
from pipeline.recipe import Recipe
from pipeline.train.build import DTYPES
from pipeline.train.engine import linear_as_run
from pipeline.train.flops import picture_attention
from pipeline.train.saved_bytes import SavedBytes

META = torch.device("meta")


def outline_embedder(folder: Path, recipe: Recipe) -> Embedder:
    """The recipe's model over a folder's config, without weights, with what it trains marked. All in the phase's type."""
    dtype = DTYPES[recipe.phases[0].dtype]
    backbone = Backbone(outline_model(folder, dtype=dtype))
    count, table = recipe.tokens.count, backbone.text.embed_tokens.weight
    with META:
        bank = make_bank(torch.empty(count, backbone.width, dtype=dtype), range(backbone.vocab_size, backbone.vocab_size + count))
        recipe.adapter.apply(backbone.text, backbone.model.lm_head)
        pooling = recipe.pooling.build(backbone.width)
    recipe.tokens.mark(bank, table)
    backbone.tower.requires_grad_(recipe.tower == "trained")
    return Embedder(backbone, bank, pooling, PatchCutter(mean=CLIP_MEAN, std=CLIP_STD)).to(dtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkCost:
    """Of one chunk: tokens of its rows, bytes kept for its backward pass, FLOPs of a forward and of a backward pass alone.

    `first` are the FLOPs of the first pass of gradient caching, over the embedded rows up to their pooled tokens. `layer` are the
    bytes that one layer keeps while it runs again (0 where layers are not checkpointed), `head` those of the logits while they
    exist. `replay` are the FLOPs of what the backward pass computes again: a trained head's logits, layers that were not kept.
    """

    tokens: int
    saved: int
    layer: int
    head: int
    first: float
    forward: float
    backward: float
    replay: float


def chunk_cost(embedder: Embedder, rows: Sequence[Row], recipe: Recipe) -> ChunkCost:
    """Run a chunk of rows through the language model, forward and backward, without computing anything."""
    batch = pack(rows, recipe.layout, recipe.pooling.positions)
    with linear_as_run(recipe.phases[0]):
        saved, forward, backward = _traced(embedder, batch)
    layer = saved // embedder.backbone.text.config.num_hidden_layers
    if recipe.phases[0].gradient_checkpointing:
        embedder.checkpoint_layers()
        with linear_as_run(recipe.phases[0]):
            saved, _, _ = _traced(embedder, batch)
        embedder.backbone.model.activation_checkpointing_disable()
    scored, attention = len(batch.score_index), attention_flops(embedder, batch)
    head = embedder.backbone.model.lm_head.weight
    logits = 2.0 * scored * head.numel()
    again = logits if head.requires_grad else 0.0
    itemsize = embedder.backbone.text.embed_tokens.weight.itemsize
    return ChunkCost(
        tokens=sum(len(row.sequence) for row in rows),
        saved=saved,
        layer=layer if recipe.phases[0].gradient_checkpointing else 0,
        # Logits in the weights' type and in float32, and the gradient of the latter.
        head=min(scored, HEAD_ROWS) * embedder.backbone.vocab_size * (itemsize + 4 + 4),
        first=_first_pass(embedder, rows, recipe),
        forward=forward + attention,
        backward=backward + 2 * attention,
        replay=again + (forward + attention - logits if recipe.phases[0].gradient_checkpointing else 0.0),
    )


def _first_pass(embedder: Embedder, rows: Sequence[Row], recipe: Recipe) -> float:
    embedded = truncate(rows, recipe.pooling.role)
    if not embedded:
        return 0.0
    batch = pack(embedded, recipe.layout, recipe.pooling.positions)
    return _traced(embedder, batch)[1] + attention_flops(embedder, batch)


def _traced(embedder: Embedder, batch: Batch) -> tuple[int, float, float]:
    """(bytes kept, forward FLOPs, backward FLOPs) of the language model, its pooling and its head.

    Attention's FLOPs are not among them.
    """
    backbone, meta = embedder.train().backbone, batch.to(META)
    dtype = backbone.text.embed_tokens.weight.dtype
    embeddings = torch.empty(len(batch.input_ids), embedder.width, dtype=dtype, device=META, requires_grad=True)
    trained = [parameter for parameter in embedder.parameters() if parameter.requires_grad]
    counter = FlopCounterMode(display=False)
    with SavedBytes([*embedder.parameters(), *embedder.buffers()]) as meter, counter:
        with embedder.noise.of(meta.token_noise):
            states = backbone.hidden(embeddings, meta.position_ids, SpanPlan.of(meta.spans))
        pooled = embedder.pool(states, meta)
        scored = states[meta.score_index]
        below = counter.get_total_flops()
        losses = backbone.token_losses(scored, meta.score_target)
        kept, begun = meter.now, counter.get_total_flops()
        del losses
        # A frozen head has made its gradient with its losses, and a trained one would compute its logits again.
        logits = backbone.logits(scored)
        forward = below + counter.get_total_flops() - begun
        begun = counter.get_total_flops()
        torch.autograd.grad(pooled.sum() + logits.sum(), [embeddings, *trained], allow_unused=True)
    return kept, float(forward), float(counter.get_total_flops() - begun)


def attention_flops(embedder: Embedder, batch: Batch) -> float:
    """FLOPs of the causal attentions of a chunk in all layers, forward: two products of queries, keys and depth."""
    lengths, config = batch.spans.starts.diff().double(), embedder.backbone.text.config
    depth = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    seen = float((lengths * (lengths + 1) / 2).sum())
    return float(4.0 * seen * config.num_attention_heads * depth * config.num_hidden_layers)


def tower_flops(embedder: Embedder, visual: int) -> float:
    """FLOPs of the vision tower, forward, for one picture of so many visual tokens."""
    tower, merge = embedder.backbone.tower, embedder.cutter.merge**2
    patches = visual * merge
    inside = sum(weight.numel() for weight in tower.parameters()) - sum(weight.numel() for weight in tower.merger.parameters())
    merger = 2.0 * visual * sum(weight.numel() for weight in tower.merger.parameters())
    return float(2.0 * patches * inside + merger + 4.0 * patches**2 * picture_attention(tower))
