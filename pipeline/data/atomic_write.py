"""Files that appear whole or not at all: written under another name, made durable, then renamed."""

import fcntl
import glob
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SUFFIX = "part"


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """A path beside `target` to write to; renamed onto it at the end, removed on an error.

    The name is drawn anew each time: writers of one target at a time each write their own file, and the last one stays. A writer
    holds a lock on its file, which ends with its process, so that what a killed one left is told from what is being written.
    """
    for leftover in target.parent.glob(f".{glob.escape(target.name)}.*.{SUFFIX}"):
        _sweep(leftover)
    aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.{SUFFIX}")
    claim = _claim(aside)
    try:
        yield aside
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
        os.close(claim)


def _claim(aside: Path) -> int:
    """An open handle of a new file, locked; again where someone swept the file before it was locked."""
    while True:
        handle = os.open(aside, os.O_RDWR | os.O_CREAT, 0o666)
        with suppress(OSError):  # a file system without locks: leftovers stay there
            fcntl.flock(handle, fcntl.LOCK_EX)
        if aside.exists():
            return handle
        os.close(handle)


def _sweep(leftover: Path) -> None:
    """Remove a file that nobody is writing."""
    with suppress(OSError), leftover.open("rb") as file:  # gone meanwhile, or locked
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        leftover.unlink()
