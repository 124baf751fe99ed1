"""Operations as torch counts them, attention included: an oracle for our own figures."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


@contextmanager
def counting(*, attention: bool) -> Iterator[Callable[[], float]]:
    """Inside of the block the value says what was computed so far.

    torch has no count for a CPU's attention; with `attention` it takes its own formula for a GPU's, which knows no causal mask.
    """

    def formula(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return int(sdpa_flop_count(query, key, value)) if attention else 0

    with FlopCounterMode(display=False, custom_mapping={_ATTENTION: formula}) as counter:
        yield lambda: float(counter.get_total_flops())
