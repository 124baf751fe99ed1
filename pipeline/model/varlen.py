"""The variable-length kernel of a GPU: all sequences of a packed row in one call, without padding.

torch's `varlen_attn` exists for CUDA in half precision. pipeline/model/varlen_check.py says where it may be used.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.attention.varlen import varlen_attn

from pipeline.spans import Spans


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sequences:
    """Sequences as the kernel reads them: `cu_seqlens` (M + 1,) int32, and the length of the longest."""

    cu_seqlens: torch.Tensor
    longest: int

    @staticmethod
    def of(cu_seqlens: torch.Tensor) -> "Sequences":
        """From cumulative lengths in any integer type. Reads one number back from the device, so once a micro-batch."""
        return Sequences(cu_seqlens=cu_seqlens.to(torch.int32), longest=int(cu_seqlens.diff().max()))


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, sequences: Sequences, *, causal: bool, scale: float | None
) -> torch.Tensor:
    """Attention inside each sequence: query (G, H, d), key and value (G, H_kv, d), half precision; returns (G, H, d)."""
    cu_seqlens, longest = sequences.cu_seqlens, sequences.longest
    window = (-1, 0) if causal else (-1, -1)  # the kernel has no other way to say causal, and its default is not
    out = varlen_attn(
        query, key, value, cu_seqlens, cu_seqlens, longest, longest, scale=scale, window_size=window, enable_gqa=True
    )
    assert isinstance(out, torch.Tensor), "nothing beside the output was asked for"
    return out


def attend_spans(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, spans: Spans, sequences: Sequences, *, scale: float | None
) -> torch.Tensor:
    """Attention of a packed row over its causal sequences: query (T, H, d), key and value (T, H_kv, d); returns (T, H, d).

    `sequences` are those of `spans.cu_seqlens`.
    """
    # A query whose output is taken has one place; keys and values that sequences share add up the gradients of all.
    q = query.index_select(0, spans.gather)
    k, v = (_SharedRows.apply(part, spans.gather) for part in (key, value))  # type: ignore[no-untyped-call]
    return attend(q, k, v, sequences, causal=True, scale=scale).index_select(0, spans.take)


class _SharedRows(torch.autograd.Function):
    """`part[places]` along the first dimension, whose gradient is summed in float32 and rounded once.

    One SYSTEM token stands in hundreds of sequences of a chunk; in half precision each addition would round.
    """

    @staticmethod
    def forward(ctx: Any, part: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """part (T, H, d), places (G,); returns (G, H, d)."""
        ctx.save_for_backward(places)
        ctx.num_rows = len(part)
        return part.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        """grad (G, H, d); returns the gradient of part (T, H, d)."""
        (places,) = ctx.saved_tensors
        total = grad.new_zeros((ctx.num_rows, *grad.shape[1:]), dtype=torch.float32)
        # index_add_ adds atomically; indexing would sort all rows first.
        return total.index_add_(0, places, grad.float()).to(grad.dtype), None
