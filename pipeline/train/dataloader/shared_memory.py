"""Shared memory, through which steps come from loader processes: how many bytes may be on their way, and if there is room."""

import multiprocessing
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import ConfigError
from pipeline.train.collectives import of_all_ranks
from pipeline.train.node import Node

SHARED, MIB, GIB = "/dev/shm", 2**20, 2**30

STEPS_AT_ONCE = 2
"""Steps that a rank cannot do without: the one in use, and the next on its way."""

_POLL_SECONDS = 0.02
_TURN, _BYTES, _ENDED = range(3)


class InFlight:
    """Lets works into shared memory one after another, in their order, while they take no more than `limit` bytes together.

    A larger one goes alone. So one that waits never waits for a later one, and order and contents stay what they are. The work in
    use counts no more, though its bytes are there until the next one has come.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._parent = os.getpid()
        self._counts = multiprocessing.Array("q", 3)

    def enter(self, turn: int, size: int) -> bool:
        """In a loader process: wait until it is this work's turn and its bytes have room. False where training has ended."""
        while os.getppid() == self._parent:
            with self._counts.get_lock():
                there = self._counts[_BYTES]
                if self._counts[_ENDED]:
                    return False
                if self._counts[_TURN] == turn and (not there or there + size <= self.limit):
                    self._counts[_TURN], self._counts[_BYTES] = turn + 1, there + size
                    return True
            time.sleep(_POLL_SECONDS)
        return False

    def leave(self, size: int) -> None:
        """In training: a work is used up."""
        with self._counts.get_lock():
            self._counts[_BYTES] -= size

    def end(self) -> None:
        """In training: nothing more is read; whoever waits goes home."""
        with self._counts.get_lock():
            self._counts[_ENDED] = 1


def free_bytes() -> int:
    """Of shared memory, now."""
    state = os.statvfs(SHARED)
    return state.f_bavail * state.f_frsize


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a rank of the machine `name` needs of the `free` bytes there."""

    name: str
    free: int
    size: int


def limit_of(node: Node, step_bytes: int) -> int:
    """Bytes that may be on their way to this rank: its share of what is free, less a step of about so many that is in use.

    Every rank must call it, before the first loader process starts. Raises ConfigError, on all of them, where a machine has no
    room for what its ranks need at least.
    """
    needs = of_all_ranks([Need(name=node.name, free=free_bytes(), size=STEPS_AT_ONCE * step_bytes)])
    for name in sorted({need.name for need in needs}):
        _refuse_narrow(name, [need for need in needs if need.name == name])
    own = [need.free for need in needs if need.name == node.name]
    return min(own) // len(own) - step_bytes


def _refuse_narrow(name: str, needs: Sequence[Need]) -> None:
    free, size = min(need.free for need in needs), sum(need.size for need in needs)
    if size > free:
        raise ConfigError(
            f"{SHARED} of {name}: {free / MIB:.0f} MiB are free, and its {len(needs)} rank(s) need about {size / MIB:.0f} for "
            f"two steps each on their way from loader processes: give it more (Docker: --shm-size={-(-2 * size // GIB)}g or "
            "--ipc=host; Slurm: it counts towards --mem), or let the ranks read themselves with --workers 0"
        )
