"""A slow stand-in for torch's variable-length kernel on a CPU, and ways in which a kernel can be wrong."""

from collections.abc import Callable

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from pipeline.model import varlen, varlen_check

Kernel = Callable[..., torch.Tensor]


def stand_in(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
) -> torch.Tensor:
    """What the kernel is documented to do, one sequence at a time, refusing what the kernel refuses."""
    assert query.dtype in varlen_check.DTYPES and cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
    assert int(cu_seq_q.diff().max()) <= max_q and int(cu_seq_k.diff().max()) <= max_k
    assert enable_gqa or query.shape[1] == key.shape[1]
    lengths = cu_seq_q.diff().tolist()
    pieces = zip(*(part.transpose(0, 1).split(lengths, dim=1) for part in (query, key, value)), strict=True)
    outputs = [
        scaled_dot_product_attention(
            q[None], k[None], v[None], is_causal=window_size == (-1, 0), scale=scale, enable_gqa=enable_gqa
        )[0]
        for q, k, v in pieces
    ]
    return torch.cat(outputs, dim=1).transpose(0, 1)


def put_in_place(monkeypatch: pytest.MonkeyPatch, kernel: Kernel) -> None:
    """Let the pipeline find `kernel` on the CPU where it would find torch's on a GPU, unchecked as yet."""
    monkeypatch.setattr(varlen, "varlen_attn", kernel)
    monkeypatch.setattr(varlen_check, "DEVICE_TYPE", "cpu")
    varlen_check.refusal.cache_clear()


def bidirectional(*args: object, **kwargs: object) -> torch.Tensor:
    return stand_in(*args, **kwargs | {"window_size": (-1, -1)})  # type: ignore[arg-type]


def without_gqa(query: torch.Tensor, *rest: object, **kwargs: object) -> torch.Tensor:
    """Neighbouring query heads read different key heads."""
    order = torch.arange(query.shape[1]).reshape(2, -1).T.flatten()
    return stand_in(query[:, order], *rest, **kwargs)[:, order.argsort()]  # type: ignore[arg-type]


def first_two_are_one(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, cu_seqlens: torch.Tensor, *_: object, **kwargs: object
) -> torch.Tensor:
    joined, longest = torch.cat([cu_seqlens[:1], cu_seqlens[2:]]), int(cu_seqlens[-1])
    return stand_in(query, key, value, joined, joined, longest, longest, **kwargs)  # type: ignore[arg-type]


def one_row_late(*args: object, **kwargs: object) -> torch.Tensor:
    return stand_in(*args, **kwargs).roll(1, 0)  # type: ignore[arg-type]


def wrong_scale(*args: object, **kwargs: object) -> torch.Tensor:
    return stand_in(*args, **kwargs | {"scale": 0.9 * float(kwargs["scale"])})  # type: ignore[arg-type]


def wrong_gradient(query: torch.Tensor, key: torch.Tensor, *rest: object, **kwargs: object) -> torch.Tensor:
    """The right output; the gradient of the keys is a tenth too small."""
    return stand_in(query, 0.9 * key + 0.1 * key.detach(), *rest, **kwargs)  # type: ignore[arg-type]


def not_a_number(*args: object, **kwargs: object) -> torch.Tensor:
    return stand_in(*args, **kwargs) * float("nan")  # type: ignore[arg-type]


def missing(*_: object, **__: object) -> torch.Tensor:
    raise NotImplementedError("no kernel for this device\nmore words")


WRONG: dict[str, Kernel] = {
    kernel.__name__: kernel
    for kernel in (
        bidirectional,
        without_gqa,
        first_two_are_one,
        one_row_late,
        wrong_scale,
        wrong_gradient,
        not_a_number,
        missing,
    )
}
