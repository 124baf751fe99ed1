"""Several processes on this machine as ranks that find one another, are told of signals and end together."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

from pipeline.train.fault_tolerance.signals import HINT, STOPPED

STARTED_BY_US = "CREM_STARTED_RANK"
"""Set for the processes of one command, which does the talking."""

GRACE_SECONDS = 15.0
"""How long the others are given, once a process has failed, to print what they have to say."""

_FORWARDED = {signal.SIGTERM: signal.SIGTERM, signal.SIGUSR1: signal.SIGUSR1, signal.SIGINT: signal.SIGTERM}
"""Signals to stop, and what the ranks get instead: a terminal's own Ctrl-C must not end them, nor count twice."""

NO_VARIABLES: Mapping[str, str] = {}

_POLL_SECONDS = 0.1
_STDERR = 2


def run_ranks(
    command: Sequence[str], *, processes: int, variables: Mapping[str, str] = NO_VARIABLES, hint: bytes = HINT
) -> list[int]:
    """Start a command as so many ranks and wait for all; returns their exit codes, negative for a signal that killed one.

    `variables` are set in their environment beside those by which they find one another. `hint` is said at the
    first Ctrl-C.

    Signals to stop are passed on to every rank, the first Ctrl-C as SIGTERM. When one fails, the others have a while to end, then
    they are killed: they would wait for the dead one.

    Raises KeyboardInterrupt, with all ranks ended, at the second Ctrl-C, and after the first where no rank could stop.
    """
    ranks = _start(command, [{**each, **variables} for each in _environments(processes)])
    try:
        with _passing_on(ranks, hint) as passed:
            while not any(codes := [rank.poll() for rank in ranks]) and None in codes:
                time.sleep(_POLL_SECONDS)
            _wait(ranks, GRACE_SECONDS)
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    ended = [rank.returncode if code is None else code for rank, code in zip(ranks, codes, strict=True)]
    if signal.SIGINT in passed and any(ended) and STOPPED not in ended:
        raise KeyboardInterrupt
    return ended


def _start(command: Sequence[str], environments: Sequence[dict[str, str]]) -> list[subprocess.Popen[bytes]]:
    """The ranks, deaf to Ctrl-C: a terminal sends it to every process, and the one that started them passes it on."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return [subprocess.Popen(command, stdin=subprocess.DEVNULL, env=each) for each in environments]
    finally:
        signal.signal(signal.SIGINT, before)


def _environments(processes: int) -> Iterator[dict[str, str]]:
    """The variables by which ranks find one another; as many threads each as leave every core one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    threads = max(1, (os.cpu_count() or 1) // processes)
    common = {**os.environ, STARTED_BY_US: "1", "OMP_NUM_THREADS": str(threads), "WORLD_SIZE": str(processes)}
    common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    common = {**allocator(common), **common}
    for rank in range(processes):
        yield {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}


@contextmanager
def _passing_on(ranks: Sequence[subprocess.Popen[bytes]], hint: bytes) -> Iterator[list[int]]:
    """Pass signals to stop on to every rank while the block runs; yields the list of those that came."""
    passed: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        passed.append(number)
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)
            os.write(_STDERR, hint)
        for rank in ranks:
            rank.send_signal(_FORWARDED[signal.Signals(number)])

    before = {number: signal.signal(number, pass_on) for number in _FORWARDED}
    try:
        yield passed
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(ranks: Sequence[subprocess.Popen[bytes]], seconds: float) -> None:
    end = time.monotonic() + seconds
    while any(rank.poll() is None for rank in ranks) and time.monotonic() < end:
        time.sleep(_POLL_SECONDS)


def allocator(variables: Mapping[str, str]) -> dict[str, str]:
    """What tells torch to let a GPU's segments grow, which loses less memory between blocks; nothing where the user has chosen.

    torch reads either name, the older one first.
    """
    chosen = "PYTORCH_CUDA_ALLOC_CONF" in variables or "PYTORCH_ALLOC_CONF" in variables
    return {} if chosen else {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}


def is_started_rank() -> bool:
    """Whether this process is one of several that `run_ranks` started."""
    return STARTED_BY_US in os.environ
