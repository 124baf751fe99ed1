"""Attention over a packed row, registered with transformers from outside: no modeling file is forked.

Text: the causal sequences of `Spans` (pipeline/spans.py). On any device they are grouped by length and each group is one
scaled_dot_product_attention; right padding inside a group needs no mask, because a causal query never sees what follows it.
Vision: pictures, or windows, of equal size are one batched attention; transformers' own sdpa route loops over them.
On a GPU in half precision both are one call of a variable-length kernel, once it has passed its check.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from pipeline.model.varlen import Sequences, attend, attend_spans
from pipeline.model.varlen_check import Heads, is_trusted, refusal
from pipeline.spans import Spans

TEXT_ATTENTION = "role_spans"
VISION_ATTENTION = "picture_flash"
"""transformers hands the tower's cumulative lengths only to a function whose name contains "flash"."""

_BUCKET = 16
"""Sequences whose lengths round up to the same multiple share one call: few calls, at most 15 rows of padding each."""


@dataclass(frozen=True, slots=True, eq=False)
class Buckets:
    """Per bucket of lengths a gather table (M_b, L_b), and where each packed position finds its output."""

    tables: tuple[torch.Tensor, ...]
    take: torch.Tensor

    @staticmethod
    def of(spans: Spans) -> "Buckets":
        """Bucket the causal sequences by length."""
        starts, lengths = spans.cu_seqlens[:-1], spans.cu_seqlens.diff()
        rounded = (lengths + _BUCKET - 1) // _BUCKET * _BUCKET
        place = torch.empty(int(spans.cu_seqlens[-1]), dtype=torch.int64, device=spans.take.device)
        tables, produced = [], 0
        for length in torch.unique(rounded).tolist():
            members = torch.nonzero(rounded == length).flatten()
            steps = torch.arange(length, device=members.device)
            inside = steps < lengths[members, None]
            # Padding gathers the sequence's first token: any valid row will do, its output is never taken.
            source = torch.where(inside, starts[members, None] + steps, starts[members, None])
            tables.append(spans.gather[source])
            place[source[inside]] = produced + torch.nonzero(inside.flatten()).flatten()
            produced += source.numel()
        return Buckets(tuple(tables), place[spans.take])


@dataclass(frozen=True, eq=False)  # no slots: what a route computes is kept here
class SpanPlan:
    """`Spans` made ready for a device. A route's tables are computed by the first layer that takes it and read by all others."""

    spans: Spans

    @staticmethod
    def of(spans: Spans) -> "SpanPlan":
        """The plan of one micro-batch."""
        return SpanPlan(spans)

    @cached_property
    def buckets(self) -> Buckets:
        """For scaled_dot_product_attention."""
        return Buckets.of(self.spans)

    @cached_property
    def sequences(self) -> Sequences:
        """For the variable-length kernel."""
        return Sequences.of(self.spans.cu_seqlens)


@dataclass(frozen=True, slots=True)
class Route:
    """How the text's attention is computed on a device; `why` is empty where the variable-length kernel does it."""

    why: str

    @staticmethod
    def of(config: Any, device: torch.device, dtype: torch.dtype) -> "Route":
        """For the text config of a model. The kernel's check runs here, if it did not before."""
        heads, keys = config.num_attention_heads, config.num_key_value_heads
        depth = getattr(config, "head_dim", None) or config.hidden_size // heads
        return Route(refusal(Heads(device=device, dtype=dtype, query=heads, key=keys, depth=depth, causal=True)))

    @property
    def is_kernel(self) -> bool:
        """Whether all sequences of a packed row are one call."""
        return not self.why

    def __str__(self) -> str:
        return "the variable-length kernel" if self.is_kernel else f"one call for each length of sequences ({self.why})"


def span_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: object,
    *,
    plan: SpanPlan | None = None,
    visible: torch.Tensor | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Compression-aware attention of one packed row (Eq. 2 of CREM), or of rows that continue a cache.

    query (1, H, T, d), key and value (1, H_kv, T, d), already rotated; returns (1, T, H, d). Without a plan the rows are a
    batch (B, H, n, d) whose keys include the cache's, and `visible` (B, 1, n, L) says which keys each query sees.
    """
    assert not dropout, "open_folder refuses a model whose attention has dropout"
    if plan is None:
        assert visible is not None, "a row without a plan continues a cache"
        out = scaled_dot_product_attention(query, key, value, attn_mask=visible, scale=scaling, enable_gqa=True)
        return out.transpose(1, 2), None
    q, k, v = (part[0].transpose(0, 1) for part in (query, key, value))
    if is_trusted(Heads.of(q, k, causal=True)):
        return attend_spans(q, k, v, plan.spans, plan.sequences, scale=scaling)[None], None
    return attend_buckets(q, k, v, plan.buckets, scale=scaling)[None], None


def attend_buckets(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, buckets: Buckets, *, scale: float | None
) -> torch.Tensor:
    """A packed row's causal sequences, a call for each bucket: query (T, H, d), key and value (T, H_kv, d); returns (T, H, d)."""
    outputs = []
    for table in buckets.tables:
        queries, keys, values = (part[table].transpose(1, 2) for part in (query, key, value))
        attended = scaled_dot_product_attention(queries, keys, values, is_causal=True, scale=scale, enable_gqa=True)
        outputs.append(attended.transpose(1, 2).flatten(0, 1))
    return torch.cat(outputs)[buckets.take]


def picture_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: object,
    *,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int = 0,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Full attention inside each picture, or window: query, key and value (1, H, P, d); returns (1, P, H, d).

    `cu_seq_lens_q` (I + 1,) int32 is where each of them begins, `max_length_q` the patches of the largest; the tower computes
    both once a call. Without them the pictures are a batch (I, H, P, d), as tiles are.
    """
    if cu_seq_lens_q is None:
        return scaled_dot_product_attention(query, key, value, scale=scaling).transpose(1, 2), None
    q, k, v = (part[0].transpose(0, 1) for part in (query, key, value))
    if is_trusted(Heads.of(q, k, causal=False)):
        sequences = Sequences(cu_seqlens=cu_seq_lens_q, longest=max_length_q)
        return attend(q, k, v, sequences, causal=False, scale=scaling)[None], None
    lengths = cu_seq_lens_q.diff()
    if bool((lengths.diff() >= 0).all()):
        return _attend_runs((query, key, value), lengths, scaling)[None], None
    order = _by_length(cu_seq_lens_q)
    sorted_parts = tuple(part.index_select(2, order) for part in (query, key, value))
    return _attend_runs(sorted_parts, lengths.sort().values, scaling).index_select(0, order.argsort())[None], None


def _attend_runs(parts: tuple[torch.Tensor, ...], lengths: torch.Tensor, scaling: float | None) -> torch.Tensor:
    """(P, H, d): one batched attention for each run of neighbours with one length (I,)."""
    outputs = []
    for start, count, length in _equal_runs(lengths.tolist()):
        queries, keys, values = (_pictures(part, start, count, length) for part in parts)
        attended = scaled_dot_product_attention(queries, keys, values, scale=scaling)
        outputs.append(attended.transpose(1, 2).flatten(0, 1))
    return torch.cat(outputs)


def _by_length(cu_seqlens: torch.Tensor) -> torch.Tensor:
    """The patches (P,) int64 of sequences of `cu_seqlens` (I + 1,), short sequences first, inside of each in order."""
    lengths = cu_seqlens.diff()
    order = lengths.argsort(stable=True)
    sorted_lengths = lengths[order]
    moved_by = cu_seqlens[:-1][order] - (sorted_lengths.cumsum(0) - sorted_lengths)
    return torch.arange(int(cu_seqlens[-1]), device=cu_seqlens.device) + moved_by.repeat_interleave(sorted_lengths)


def _pictures(packed: torch.Tensor, start: int, count: int, length: int) -> torch.Tensor:
    """(1, H, P, d) -> (count, H, length, d): `count` neighbouring pictures of `length` patches as a batch."""
    heads, depth = packed.shape[1], packed.shape[3]
    return packed[0, :, start : start + count * length].reshape(heads, count, length, depth).transpose(0, 1)


def _equal_runs(lengths: list[int]) -> Iterator[tuple[int, int, int]]:
    """(start, count, length) of each run of neighbours with one length."""
    start = index = 0
    while index < len(lengths):
        count = 1
        while index + count < len(lengths) and lengths[index + count] == lengths[index]:
            count += 1
        yield start, count, lengths[index]
        start, index = start + count * lengths[index], index + count


AttentionInterface.register(TEXT_ATTENTION, span_attention)
AttentionInterface.register(VISION_ATTENTION, picture_attention)
