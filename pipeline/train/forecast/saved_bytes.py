"""The bytes that forward passes keep for their backward passes: autograd's saved tensors, each storage once.

Weights do not count: they are there anyway. It works on every device, and on the meta device too, where nothing is computed.
"""

from collections import Counter
from collections.abc import Iterable
from types import TracebackType

import torch


class SavedBytes:
    """A context manager; inside of it, `now` are the bytes that graphs keep at this moment, `peak` the most they ever kept."""

    def __init__(self, weights: Iterable[torch.Tensor]) -> None:
        self.now = self.peak = 0
        self._weights = {_storage(weight) for weight in weights}
        self._holders = Counter[int]()
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._keep, _Kept.give)

    def __enter__(self) -> "SavedBytes":
        self._hooks.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._hooks.__exit__(kind, error, trace)

    def _keep(self, tensor: torch.Tensor) -> "_Kept":
        storage = _storage(tensor)
        if storage in self._weights:
            return _Kept(tensor, None)
        self._holders[storage] += 1
        if self._holders[storage] == 1:
            self.now += tensor.untyped_storage().nbytes()
            self.peak = max(self.peak, self.now)
        return _Kept(tensor, self)

    def let_go(self, tensor: torch.Tensor) -> None:
        """A graph freed a tensor that it kept."""
        storage = _storage(tensor)
        self._holders[storage] -= 1
        if not self._holders[storage]:
            del self._holders[storage]
            self.now -= tensor.untyped_storage().nbytes()


class _Kept:
    """A saved tensor, which tells its meter when the graph frees it. It holds the tensor, so no other takes its storage."""

    __slots__ = ("meter", "tensor")

    def __init__(self, tensor: torch.Tensor, meter: SavedBytes | None) -> None:
        self.tensor, self.meter = tensor, meter

    def give(self) -> torch.Tensor:
        """What was saved."""
        return self.tensor

    def __del__(self) -> None:
        if self.meter is not None:
            self.meter.let_go(self.tensor)


def _storage(tensor: torch.Tensor) -> int:
    """What tells storages apart; on the meta device all have the same address."""
    number: int = tensor.untyped_storage()._cdata
    return number
