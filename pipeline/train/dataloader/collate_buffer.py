"""A step's work on its way from a loader's process: all its tensors in one block of shared memory.

torch sends each tensor of a work through a file descriptor of its own, open until the work is used up: hundreds a step, times
the steps that are read ahead, where many nodes allow a process 1,024.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from pipeline.errors import ConfigError
from pipeline.lock import leave_to_parent
from pipeline.train.dataloader.shared_memory import MIB, SHARED, InFlight, free_bytes
from pipeline.train.fault_tolerance.signals import ignore_in_worker

READ_AHEAD = 4
"""Works that each process prepares before they are asked for, as far as there is room for them."""

_ADVICE = "give it more (Docker: --shm-size, such as 16g, or --ipc=host), or read ahead less with a lower --workers"

_ALIGNMENT_BYTES = 16
"""A view of another type must begin at a multiple of that type's size; no tensor of a work has larger numbers."""


@dataclass(frozen=True, slots=True)
class _Extent:
    """Where a tensor lies in the block."""

    start: int
    dtype: torch.dtype
    shape: torch.Size

    @property
    def end(self) -> int:
        return self.start + self.dtype.itemsize * self.shape.numel()


@dataclass(frozen=True, slots=True)
class CollateBuffer:
    """Something with `_Extent`s where its tensors were, and the bytes (N,) uint8 of all of them."""

    outline: Any
    block: torch.Tensor


class BufferedDataset(Dataset[CollateBuffer]):
    """The works with these numbers, in their order, as buffers; those of loader processes wait for room in shared memory."""

    def __init__(self, works: Dataset[Any], numbers: Sequence[int], in_flight: InFlight) -> None:
        self.works, self.numbers, self.in_flight = works, numbers, in_flight

    def __getitem__(self, turn: int) -> CollateBuffer:
        buffer = wrap(self.works[self.numbers[turn]])
        if get_worker_info() and self.in_flight.enter(turn, buffer.block.nbytes):
            return shared(buffer)
        return buffer


def load_ahead(works: Dataset[Any], numbers: Sequence[int], num_workers: int, *, limit: int) -> Iterator[Any]:
    """The works with these numbers in their order, prepared ahead by so many processes, or here (0).

    At most `limit` bytes are on their way at once, or one work. Where there is no room to send one, a ConfigError stands in its
    place. Raises ConfigError when a process has died.
    """
    in_flight = InFlight(limit)
    loader = DataLoader(
        BufferedDataset(works, numbers, in_flight),
        batch_size=None,
        sampler=range(len(numbers)),
        num_workers=num_workers,
        prefetch_factor=READ_AHEAD if num_workers else None,
        worker_init_fn=_begin_worker,
    )
    buffers = iter(loader)  # by name, or it would end its processes, which wait, before the block below tells them to leave
    try:
        for buffer in buffers:
            yield unwrap(buffer)
            in_flight.leave(buffer.block.nbytes)
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise ConfigError(
            f"a loader process died ({str(error).splitlines()[0]}); memory or {SHARED} may be full: {_ADVICE}"
        ) from error
    finally:
        in_flight.end()
        del buffers  # ends the processes, though a traceback may hold this frame until the program's end


def _begin_worker(worker: int) -> None:
    """It outlives a rank that is killed by seconds; the same command, given again at once, must not find the folder taken."""
    ignore_in_worker(worker)
    leave_to_parent()


def shared(buffer: CollateBuffer) -> CollateBuffer:
    """The buffer with its bytes in shared memory, or with a ConfigError that says why not.

    torch would move them there itself, behind the queue: a failure there is heard by nobody, and training waits for ever. A file
    system that is full kills the process at the first byte.
    """
    size = buffer.block.nbytes
    try:
        free = free_bytes()
        if size > free:
            raise RuntimeError(f"{free / MIB:.0f} MiB are free")
        buffer.block.share_memory_()  # type: ignore[no-untyped-call]
    except (RuntimeError, OSError) as error:
        why = f"{SHARED}: no room for a step of {size / MIB:.0f} MiB ({error}): {_ADVICE}"
        return CollateBuffer(ConfigError(why), torch.empty(0, dtype=torch.uint8))
    return buffer


def wrap(value: Any) -> CollateBuffer:
    """Copy the CPU tensors in dataclasses, tuples and lists into one block. Anything else is left as it is."""
    tensors: list[tuple[_Extent, torch.Tensor]] = []

    def put(tensor: torch.Tensor) -> _Extent:
        end = tensors[-1][0].end if tensors else 0
        extent = _Extent(-(-end // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES, tensor.dtype, tensor.shape)
        tensors.append((extent, tensor))
        return extent

    outline = _replaced(value, torch.Tensor, put)
    block = torch.empty(tensors[-1][0].end if tensors else 0, dtype=torch.uint8)
    for extent, tensor in tensors:
        _view(block, extent).copy_(tensor)
    return CollateBuffer(outline, block)


def unwrap(buffer: CollateBuffer) -> Any:
    """What was wrapped; its tensors are views of the block."""
    return _replaced(buffer.outline, _Extent, lambda extent: _view(buffer.block, extent))


def _view(block: torch.Tensor, extent: _Extent) -> torch.Tensor:
    return block[extent.start : extent.end].view(extent.dtype).view(extent.shape)


def _replaced(value: Any, kind: type, other: Callable[[Any], Any]) -> Any:
    """The value with all of a kind inside it replaced."""
    if isinstance(value, kind):
        return other(value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{item.name: _replaced(getattr(value, item.name), kind, other) for item in fields(value)})
    if isinstance(value, tuple | list):
        return type(value)([_replaced(item, kind, other) for item in value])
    return value
