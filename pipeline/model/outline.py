"""A model of a folder's config alone, on the meta device: shapes and types without weights, and attention without a kernel."""

from pathlib import Path
from typing import Any

import torch
from transformers import AttentionInterface

from pipeline.model.attention import SpanPlan
from pipeline.model.families import family_of, read_config

OUTLINE_ATTENTION, OUTLINE_VISION = "role_spans_outline", "picture_flash_outline"


def outline_model(path: Path, *, dtype: torch.dtype) -> Any:
    """The model that `path`/config.json describes; no other file is read. Raises CheckpointError for a foreign config."""
    config = read_config(path)
    family = family_of(config)
    with torch.device("meta"):
        model = family.model_class._from_config(config, dtype=dtype)
    family.use_attention(model, text=OUTLINE_ATTENTION, vision=OUTLINE_VISION)
    return model


class _KernelMemory(torch.autograd.Function):
    """What a variable-length kernel keeps: gathered queries, keys and values, its output and a number a row and head."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        out = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, out, query.new_empty(query.shape[:2], dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, ...]:
        query, key, value, _, _ = ctx.saved_tensors
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


def outline_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: object,
    *,
    plan: SpanPlan,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """The shapes of `span_attention` over the variable-length kernel: query (1, H, T, d) -> (1, T, H, d)."""
    q, k, v = (part[0].transpose(0, 1).index_select(0, plan.spans.gather) for part in (query, key, value))
    out: torch.Tensor = _KernelMemory.apply(q, k, v)  # type: ignore[no-untyped-call]
    return out.index_select(0, plan.spans.take)[None], None


def outline_vision(
    module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: object, **_: Any
) -> tuple[torch.Tensor, None]:
    """The shapes of `picture_attention` over a kernel: query (1, H, P, d), or of tiles (I, H, P, d) -> (1 or I, P, H, d)."""
    count, places = query.shape[0], query.shape[2]
    out: torch.Tensor = _KernelMemory.apply(*(part.transpose(1, 2).flatten(0, 1) for part in (query, key, value)))  # type: ignore[no-untyped-call]
    return out.reshape(count, places, *out.shape[1:]), None


AttentionInterface.register(OUTLINE_ATTENTION, outline_attention)
AttentionInterface.register(OUTLINE_VISION, outline_vision)
