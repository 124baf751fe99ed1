"""One process at a time: a lock on an open file, which goes with the process, however that ends.

A forked process shares its parent's locks and keeps them when the parent has died. One that only reads leaves them to the parent.
"""

import fcntl
import logging
import os
from typing import IO, Any
from weakref import WeakSet

from pipeline.errors import PipelineError

logger = logging.getLogger(__name__)

_HELD: WeakSet[IO[Any]] = WeakSet()


def hold(file: IO[str] | IO[bytes], *, busy: str) -> None:
    """Lock an open file until it is closed. Raises PipelineError with the words of `busy` where another process holds it.

    A file system without locks is said in a warning and let pass.
    """
    try:
        _lock(file, fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise PipelineError(busy) from error
    _HELD.add(file)


def leave_to_parent() -> None:
    """In a forked process: have no part in the locks that `hold` took, which the parent keeps for as long as it lives."""
    for file in [held for held in _HELD if not held.closed]:
        # Its number stays taken: the parent's objects, of which this process has copies, would close another file by it.
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, file.fileno())
        os.close(nothing)


def wait_for(file: IO[str] | IO[bytes]) -> None:
    """Lock an open file until it is closed, as soon as no other process holds it: for work of milliseconds."""
    _lock(file, 0)


def _lock(file: IO[str] | IO[bytes], how: int) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | how)
    except BlockingIOError:
        raise
    except OSError as error:  # Lustre mounted without -o flock, for one
        logger.warning("%s: no locks here (%s): see to it that no second command runs on it", file.name, error.strerror)
