"""What the compression tokens of a row look at in one layer: the attention weights, which the fast routes never write down.

The row is read as always, so every layer's input is the model's own. Only in the asked layer the weights of those tokens are
computed once more, densely, from the layer's rotated queries and keys and the mask of the roles: K x T numbers a head, not T x T.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AttentionInterface

from pipeline.batch import PoolPositions, Row, pack
from pipeline.errors import ConfigError
from pipeline.model.attention import TEXT_ATTENTION, VISION_ATTENTION, SpanPlan, span_attention
from pipeline.model.embedder import Embedder
from pipeline.roles import Layout, Role

WATCHED_ATTENTION = "role_spans_watched"
"""`span_attention` that also notes the weights of one layer."""


@dataclass(frozen=True, eq=False)
class _Watch(SpanPlan):
    """The plan of a row, which of its positions (K,) to watch in which layer, and the keys (K, T) bool that these see."""

    layer: int
    queries: torch.Tensor
    visible: torch.Tensor
    seen: list[torch.Tensor] = field(default_factory=list)


@torch.no_grad()
def token_attention(embedder: Embedder, row: Row, layout: Layout, layer: int) -> torch.Tensor:
    """Weights (H, K, T) float32 on the CPU of a row's K compression tokens over its T tokens in layer `layer`, counted from 0.

    Each is softmax(q k^T / sqrt(d)) over the keys that the layout lets the token see, as the layer computes it; the weights of a
    token sum to 1. Raises ConfigError for a layer that the model does not have, and for a row without compression tokens.
    """
    num_layers = len(embedder.backbone.text.layers)
    if not 0 <= layer < num_layers:
        raise ConfigError(f"layer {layer}: the model has {num_layers} layers, 0 to {num_layers - 1}")
    if not row.has_compression:
        raise ConfigError("the row has no compression tokens, whose attention is asked for")
    batch = pack([row], layout, PoolPositions(Role.COMPRESSION)).to(next(embedder.parameters()).device)
    roles = torch.from_numpy(row.sequence.roles).to(batch.input_ids.device)
    queries = torch.nonzero(roles == Role.COMPRESSION).flatten()
    watch = _Watch(batch.spans, layer, queries, _visible(roles, queries, layout, compressed=row.compressed))
    family, model = embedder.backbone.family, embedder.backbone.model
    family.use_attention(model, text=WATCHED_ATTENTION, vision=VISION_ATTENTION)
    try:
        embedder.backbone.hidden(embedder.inputs(batch), batch.position_ids, watch)
    finally:
        family.use_attention(model, text=TEXT_ATTENTION, vision=VISION_ATTENTION)
    (weights,) = watch.seen
    return weights.cpu()


def _visible(roles: torch.Tensor, queries: torch.Tensor, layout: Layout, *, compressed: bool) -> torch.Tensor:
    """The keys (K, T) bool that the compression tokens at `queries` (K,) see: no later token, and none of a hidden role."""
    seen = torch.tensor([int(role) for role in layout.visible(Role.COMPRESSION, compressed=compressed)], device=roles.device)
    return torch.isin(roles, seen) & (torch.arange(len(roles), device=roles.device) <= queries[:, None])


def _watched_attention(
    module: Any, query: torch.Tensor, key: torch.Tensor, *given: Any, plan: _Watch, scaling: float, **named: Any
) -> tuple[torch.Tensor, None]:
    """`span_attention`; in the watched layer the weights of the watched queries are noted on the way."""
    if module.layer_idx == plan.layer:
        keys = key[0].float().repeat_interleave(query.shape[1] // key.shape[1], dim=0)
        scores = query[0, :, plan.queries].float() @ keys.transpose(1, 2) * scaling
        plan.seen.append(scores.masked_fill(~plan.visible, float("-inf")).softmax(dim=-1))
    return span_attention(module, query, key, *given, plan=plan, scaling=scaling, **named)


AttentionInterface.register(WATCHED_ATTENTION, _watched_attention)
