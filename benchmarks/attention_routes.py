"""Ways to attend under CREM's mask (Eq. 2): the pipeline's two, a dense mask in two packings, and flex_attention.

What a micro-batch makes once for all its layers (gather tables, masks) is made when the route is built.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.attention_rows import Rows
from pipeline.model.attention import SpanPlan, attend_buckets, span_attention
from pipeline.spans import Spans

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Query (1, H, T, d), key and value (1, H_kv, T, d) -> (1, H, T, d)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Route:
    """A way to attend. `made_once` are its masks and tables; `backward` says whether it can be trained here."""

    name: str
    attend: Attend
    made_once: tuple[torch.Tensor, ...]
    backward: bool = True


def routes(rows: Rows, device: torch.device, dtype: torch.dtype, *, with_flex: bool) -> list[Route]:
    """The routes to compare, ours first."""
    found = [split(rows, device), dense(rows, device, dtype)]
    if device.type == "cuda":
        found.append(buckets(rows, device))
    if len(rows.roles) > 1:
        found.append(padded(rows, device, dtype))
    return [*found, flex(rows, device)] if with_flex else found


def split(rows: Rows, device: torch.device) -> Route:
    """Ours: causal attentions over gathered keys."""
    moved = _moved(rows.spans, device)
    plan, module = SpanPlan.of(moved), torch.nn.Module()
    tables = (moved.gather, moved.take) if device.type == "cuda" else (*plan.buckets.tables, plan.buckets.take)
    return Route(
        name="split",
        attend=lambda q, k, v: span_attention(module, q, k, v, None, plan=plan)[0].transpose(1, 2),
        made_once=tables,
    )


def buckets(rows: Rows, device: torch.device) -> Route:
    """Ours without the variable-length kernel: on a CPU it is the first route, and on a GPU what a wrong kernel leaves."""
    made = SpanPlan.of(_moved(rows.spans, device)).buckets

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        query, key, value = (part[0].transpose(0, 1) for part in (q, k, v))
        return attend_buckets(query, key, value, made, scale=None).transpose(0, 1)[None]

    return Route(name="one call a length", attend=attend, made_once=(*made.tables, made.take))


def _moved(spans: Spans, device: torch.device) -> Spans:
    return Spans(gather=spans.gather.to(device), cu_seqlens=spans.cu_seqlens.to(device), take=spans.take.to(device))


def dense(rows: Rows, device: torch.device, dtype: torch.dtype) -> Route:
    """One mask over the whole packed row, in the form that the kernel adds to the scores."""
    mask = additive(visible(rows), dtype).to(device)
    return Route(
        name="dense mask",
        attend=partial(scaled_dot_product_attention, attn_mask=mask, enable_gqa=True),
        made_once=(mask,),
    )


def padded(rows: Rows, device: torch.device, dtype: torch.dtype) -> Route:
    """Rows as a batch, padded to the longest, a mask each; padding sees itself."""
    longest = max(len(place) for place in rows.places)
    table = torch.from_numpy(np.stack([np.pad(place, (0, longest - len(place)), mode="edge") for place in rows.places]))
    real = torch.from_numpy(np.stack([np.arange(longest) < len(place) for place in rows.places]))
    whole = visible(rows)
    seen = torch.stack([whole[line][:, line] for line in table]) & real[:, None] | torch.eye(longest, dtype=torch.bool)
    mask, table, real = additive(seen[:, None], dtype).to(device), table.to(device), real.to(device)

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        queries, keys, values = (part[0][:, table].transpose(0, 1) for part in (q, k, v))
        out = scaled_dot_product_attention(queries, keys, values, attn_mask=mask, enable_gqa=True)
        return out.transpose(1, 2)[real].transpose(0, 1)[None]

    return Route(name="dense, padded batch", attend=attend, made_once=(mask, table, real))


def flex(rows: Rows, device: torch.device) -> Route:
    """torch's flex_attention, compiled, with the same rule as a block mask. torch 2.13 refuses to train it on a CPU."""
    owner, blind = torch.from_numpy(rows.owner()).to(device), torch.from_numpy(rows.blind()).to(device)
    context = torch.from_numpy(rows.context()).to(device)

    def rule(_b: torch.Tensor, _h: torch.Tensor, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
        return (j <= i) & (owner[i] == owner[j]) & ~(blind[i] & context[j])

    mask = create_block_mask(rule, None, None, len(owner), len(owner), device=str(device))
    compiled = torch.compile(flex_attention, dynamic=False)
    return Route(
        name="flex_attention",
        attend=lambda q, k, v: compiled(q, k, v, block_mask=mask, enable_gqa=True),
        made_once=tuple(part for part in mask.as_tuple() if isinstance(part, torch.Tensor)),
        backward=device.type == "cuda",
    )


def visible(rows: Rows) -> torch.Tensor:
    """Eq. 2 between all packed tokens, (T, T) bool."""
    owner = rows.owner()
    return torch.from_numpy(np.tril(owner[:, None] == owner) & ~(rows.blind()[:, None] & rows.context()))


def additive(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """0 where a key is seen, minus infinity elsewhere."""
    return torch.zeros(seen.shape, dtype=dtype).masked_fill(~seen, float("-inf"))
