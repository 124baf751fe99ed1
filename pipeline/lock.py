"""One process at a time: a lock on an open file, which goes with the process, however that ends."""

import fcntl
import logging
from typing import IO

from pipeline.errors import PipelineError

logger = logging.getLogger(__name__)


def hold(file: IO[str] | IO[bytes], *, busy: str) -> None:
    """Lock an open file until it is closed. Raises PipelineError with the words of `busy` where another process holds it.

    A file system without locks is said in a warning and let pass.
    """
    try:
        _lock(file, fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise PipelineError(busy) from error


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
