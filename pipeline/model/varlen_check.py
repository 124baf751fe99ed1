"""Whether the variable-length kernel may be used on this device: it must first give what a dense mask gives.

Before its first use for a shape of heads it is run on some 200 tokens, forward and backward, beside the dense definition.
A kernel that is wrong or missing costs one warning and the speed.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from pipeline.model.varlen import Sequences, attend, attend_spans
from pipeline.roles import Hide, Layout, Role
from pipeline.spans import Spans, causal_spans

logger = logging.getLogger(__name__)

DEVICE_TYPE = "cuda"
DTYPES = (torch.bfloat16, torch.float16)

TOLERANCE_STEPS = 4
"""Allowed error relative to the largest value, in rounding steps of the type."""

_LAYOUT = Layout(order=tuple(Role), hidden=(Hide((Role.QUESTION, Role.ANSWER), (Role.CONTEXT,)),))
_ROWS = (((5, 110, 16, 9, 14), True), ((5, 20, 4, 8, 7), False), ((5, 1, 2, 0, 0), True))
"""Tokens by role of the check's rows and whether each is compressed; they share SYSTEM. One is longer than a kernel's tile."""
_PICTURES = (132, 48, 16)

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """What decides which kernel runs: where, in which type, how many heads of which depth, and whether it is causal."""

    device: torch.device
    dtype: torch.dtype
    query: int
    key: int
    depth: int
    causal: bool

    @staticmethod
    def of(query: torch.Tensor, key: torch.Tensor, *, causal: bool) -> "Heads":
        """Of queries (T, H, d) and keys (T, H_kv, d)."""
        return Heads(
            device=query.device,
            dtype=query.dtype,
            query=query.shape[1],
            key=key.shape[1],
            depth=query.shape[2],
            causal=causal,
        )

    @property
    def scale(self) -> float:
        """The usual factor of the scores."""
        return float(self.depth**-0.5)


def is_trusted(heads: Heads) -> bool:
    """Whether the kernel exists for these heads and gives what a dense mask gives."""
    return not refusal(heads)


@lru_cache(maxsize=32)
def refusal(heads: Heads) -> str:
    """Why the kernel is not used for these heads; empty where it is. Checked once; a failure is warned of once."""
    if heads.device.type != DEVICE_TYPE or heads.dtype not in DTYPES:
        return f"the kernel is for half precision on a GPU, not for {_name(heads.dtype)} on {heads.device.type}"
    allowed = TOLERANCE_STEPS * torch.finfo(heads.dtype).eps
    try:
        error = largest_error(heads)
    except (RuntimeError, ValueError) as failure:
        first = next(iter(str(failure).splitlines()), "")
        return _warned(heads, f"it does not run ({type(failure).__name__}: {first})")
    if not error <= allowed:  # so that NaN fails
        return _warned(heads, f"it is off by {error:.3g} of the largest value, and {allowed:.3g} is allowed")
    return ""


def _warned(heads: Heads, why: str) -> str:
    logger.warning(
        "variable-length attention is not used for %d/%d heads of %d in %s: %s; attention is slower, not wrong",
        heads.query,
        heads.key,
        heads.depth,
        _name(heads.dtype),
        why,
    )
    return why


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@torch.inference_mode(False)
@torch.enable_grad()
def largest_error(heads: Heads) -> float:
    """Largest error of the kernel on the check's tokens, relative to the largest value: of the output and each gradient.

    The first forward pass is often one without gradients; here they are on.
    """
    attend_here, visible = _causal_check(heads) if heads.causal else _picture_check(heads)
    generator = torch.Generator().manual_seed(0)  # the run's own random numbers are not touched
    shapes = [(len(visible), count, heads.depth) for count in (heads.query, heads.key, heads.key, heads.query)]
    parts = [torch.randn(shape, generator=generator).to(heads.dtype) for shape in shapes]
    exact = _with_gradients(lambda q, k, v: _dense(q, k, v, visible, heads.scale), [part.float() for part in parts])
    found = _with_gradients(attend_here, [part.to(heads.device) for part in parts])
    errors = [(ours.cpu().float() - true).abs().max() / true.abs().max() for ours, true in zip(found, exact, strict=True)]
    return float(torch.stack(errors).max())


def _with_gradients(attend_here: Attend, parts: list[torch.Tensor]) -> list[torch.Tensor]:
    """Output and gradients of query, key and value; the last of `parts` is the gradient of the output."""
    *inputs, grad_output = parts
    leaves = [part.requires_grad_() for part in inputs]
    # A checkpointed layer around us counts what is saved; the check, which its replay will not run, must not be counted.
    with torch.autograd.graph.saved_tensors_hooks(_as_it_is, _as_it_is):
        out = attend_here(*leaves)
        return [out.detach(), *torch.autograd.grad(out, leaves, grad_output)]


def _as_it_is(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def _dense(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, visible: torch.Tensor, scale: float) -> torch.Tensor:
    """The definition: softmax over the keys that `visible` (T, T) allows; each key head serves neighbouring query heads."""
    key, value = (part.repeat_interleave(query.shape[1] // part.shape[1], dim=1) for part in (key, value))
    scores = torch.einsum("qhd,khd->hqk", query, key) * scale
    weights = scores.masked_fill(~visible, float("-inf")).softmax(dim=-1)
    return torch.einsum("hqk,khd->qhd", weights, value)


def _causal_check(heads: Heads) -> tuple[Attend, torch.Tensor]:
    """The kernel over the spans of the check's rows, and which key each packed token may see, (T, T)."""
    roles = [np.repeat(np.arange(len(Role)), counts) for counts, _ in _ROWS]
    shared = _ROWS[0][0][Role.SYSTEM]
    ends = shared + np.cumsum([len(row) - shared for row in roles])
    places = [
        np.concatenate([np.arange(shared), np.arange(end - len(row) + shared, end)]) for row, end in zip(roles, ends, strict=True)
    ]
    visible = np.zeros((ends[-1], ends[-1]), dtype=bool)
    for row, place, (_, compressed) in zip(roles, places, _ROWS, strict=True):
        may_see = np.array([[key in _LAYOUT.visible(role, compressed=compressed) for key in Role] for role in Role])
        visible[np.ix_(place, place)] = np.tril(may_see[np.ix_(row, row)])
    rows = [(row, compressed) for row, (_, compressed) in zip(roles, _ROWS, strict=True)]
    spans = causal_spans(rows, places, _LAYOUT)
    here = Spans(
        gather=spans.gather.to(heads.device), cu_seqlens=spans.cu_seqlens.to(heads.device), take=spans.take.to(heads.device)
    )
    sequences = Sequences.of(here.cu_seqlens)
    return lambda q, k, v: attend_spans(q, k, v, here, sequences, scale=heads.scale), torch.from_numpy(visible)


def _picture_check(heads: Heads) -> tuple[Attend, torch.Tensor]:
    """The kernel over the check's pictures, and which patch each patch may see, (P, P)."""
    picture = torch.repeat_interleave(torch.arange(len(_PICTURES)), torch.tensor(_PICTURES))
    sequences = Sequences.of(torch.tensor([0, *np.cumsum(_PICTURES)], device=heads.device))
    visible = picture[:, None] == picture
    return lambda q, k, v: attend(q, k, v, sequences, causal=False, scale=heads.scale), visible
