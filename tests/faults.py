"""Fault injector: kills programs at chosen or seeded moments, and breaks files in named ways.

A new kind of broken file is one more function in BREAKS.
"""

import multiprocessing
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from pipeline.errors import PipelineError
from pipeline.lock import hold

POLL_SECONDS = 0.002
PATIENCE_SECONDS = 120.0


def kill_when(command: Sequence[str], is_time: Callable[[], bool], **popen: object) -> int:
    """Start a program and SIGKILL it as soon as `is_time()`; returns its exit code (-9 when it was killed).

    A program that ends by itself before is left alone.
    """
    with subprocess.Popen(list(command), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **popen) as process:
        end = time.monotonic() + PATIENCE_SECONDS
        while process.poll() is None:
            assert time.monotonic() < end, f"{command[0]} neither ended nor reached the moment to be killed"
            if is_time():
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(POLL_SECONDS)
        process.communicate()
        return process.returncode


def kill_at_sizes(command: Sequence[str], file: Path, sizes: Sequence[int], **popen: object) -> list[int]:
    """Run a program again and again, killing it each time `file` has grown past the next size. Returns the exit codes."""

    def grown_past(size: int) -> Callable[[], bool]:
        return lambda: file.exists() and file.stat().st_size > size

    return [kill_when(command, grown_past(size), **popen) for size in sizes]


def seeded_sizes(seed: int, *, count: int, largest: int) -> list[int]:
    """Rising sizes at which to kill, drawn by the seed."""
    return sorted(random.Random(seed).sample(range(largest), count))


def is_running(process: int) -> bool:
    """Whether it is there and no zombie, which has no command line."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes() != b""
    except FileNotFoundError:
        return False


def killed_with_a_lock(file: Path, begin: Callable[[], object]) -> int:
    """A process locks the file, begins what has a process of its own, and is killed. Returns the number of the one left."""
    reads, writes = os.pipe()
    killed = os.fork()
    if not killed:
        with file.open("w") as lock:
            hold(lock, busy="nobody else is here")
            kept = begin()
            os.write(writes, f"{multiprocessing.active_children()[0].pid}\n".encode())
            time.sleep(600)
            del kept
    left = int(os.read(reads, 100))
    with file.open("w") as lock, pytest.raises(PipelineError, match="it lives"):
        hold(lock, busy="it lives")
    os.kill(killed, signal.SIGKILL)
    os.waitpid(killed, 0)
    return left


def truncate(path: Path, rng: random.Random) -> None:
    """Cut the file somewhere before its end, as a full disk or a killed copy does."""
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])


def flip_bit(path: Path, rng: random.Random) -> None:
    """Turn one bit over, as a bad disk does."""
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def empty(path: Path, rng: random.Random) -> None:
    """Leave the name without any content."""
    path.write_bytes(b"")


def scribble(path: Path, rng: random.Random) -> None:
    """Replace the content by noise of the same length."""
    path.write_bytes(rng.randbytes(path.stat().st_size))


def remove(path: Path, rng: random.Random) -> None:
    """Take the file away."""
    path.unlink()


BREAKS: Mapping[str, Callable[[Path, random.Random], None]] = {
    "truncated": truncate,
    "bit flipped": flip_bit,
    "empty": empty,
    "noise": scribble,
    "missing": remove,
}
