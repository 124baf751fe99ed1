"""The variable-length kernel of a GPU: all sequences of a packed row in one call, without padding.

torch's `varlen_attn` exists for CUDA in half precision. pipeline/model/varlen_check.py says where it may be used.
"""

from dataclasses import dataclass

import torch
from torch.nn.attention.varlen import varlen_attn

from pipeline.spans import Spans


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sequences:
    """Sequences as the kernel reads them: `starts` (M + 1,) int32, where each begins, and the length of the longest."""

    starts: torch.Tensor
    longest: int

    @staticmethod
    def of(starts: torch.Tensor) -> "Sequences":
        """From the starts in any integer type. Reads one number back from the device, so once a micro-batch."""
        return Sequences(starts=starts.to(torch.int32), longest=int(starts.diff().max()))


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, sequences: Sequences, *, causal: bool, scale: float | None
) -> torch.Tensor:
    """Attention inside each sequence: query (G, H, d), key and value (G, H_kv, d), half precision; returns (G, H, d)."""
    starts, longest = sequences.starts, sequences.longest
    window = (-1, 0) if causal else (-1, -1)  # the kernel has no other way to say causal, and its default is not
    out = varlen_attn(query, key, value, starts, starts, longest, longest, scale=scale, window_size=window, enable_gqa=True)
    assert isinstance(out, torch.Tensor), "nothing beside the output was asked for"
    return out


def attend_spans(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, spans: Spans, sequences: Sequences, *, scale: float | None
) -> torch.Tensor:
    """Attention of a packed row over its causal sequences: query (T, H, d), key and value (T, H_kv, d); returns (T, H, d).

    `sequences` are those of `spans.starts`.
    """
    # index_select adds up its gradient by atomic additions; indexing would sort all rows first.
    q, k, v = (part.index_select(0, spans.gather) for part in (query, key, value))
    return attend(q, k, v, sequences, causal=True, scale=scale).index_select(0, spans.take)
