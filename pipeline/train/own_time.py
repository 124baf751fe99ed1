"""The seconds of a step that a rank works itself, apart from those in which it waits for other ranks."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class OwnTime:
    """Adds up the seconds of blocks that call no collective.

    On a GPU a block only queues its work: events before and behind it are read when the step is over, and nothing waits for them.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._seconds = 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def begin(self) -> None:
        """A step begins: what was counted before it is forgotten."""
        self._seconds = 0.0
        self._events.clear()

    @contextmanager
    def counting(self, *, when: bool = True) -> Iterator[None]:
        """The block counts, unless it is one that may wait for others."""
        if not when:
            yield
        elif self._on_gpu:
            pair = _event(), _event()
            pair[0].record()
            yield
            pair[1].record()
            self._events.append(pair)
        else:
            begun = time.perf_counter()
            yield
            self._seconds += time.perf_counter() - begun

    def seconds(self) -> float:
        """All of the step's blocks so far; waits for the device to have done them."""
        if self._events:
            self._events[-1][1].synchronize()
        return self._seconds + float(sum(begun.elapsed_time(ended) for begun, ended in self._events)) / 1000


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
