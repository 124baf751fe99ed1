"""Notes on their way to a store: one thread takes them in order, so that the work waits for no slow server or locked file."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from pipeline.tracking.address import one_line

Answer = TypeVar("Answer")
logger = logging.getLogger(__name__)

_MAX_WAITING = 10_000
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_TRY_SECONDS = 600.0
"""A note that the store does not take for so long is given up, or one that it can never take would hold up all others."""

CLOSE_SECONDS = 20.0
"""How long the end of a stage waits for notes that are still on their way."""

_PASSING = ("TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR", "REQUEST_LIMIT_EXCEEDED")
"""MLflow's codes for a locked database, and for a server that is down or too busy."""


class Sender:
    """Sends notes in order. A failure is the store's, never the stage's: it is warned of once.

    What a store refuses is dropped; while it does not answer, notes wait and are tried again.
    """

    def __init__(self) -> None:
        self._notes: queue.Queue[Callable[[], object] | None] = queue.Queue(_MAX_WAITING)
        self._has_warned = False
        self._closing, self._end = threading.Event(), float("inf")
        self._thread = threading.Thread(target=self._send_all, daemon=True, name="tracking")
        self._thread.start()

    def put(self, note: Callable[[], object]) -> None:
        """Send a note when its turn comes."""
        try:
            self._notes.put_nowait(note)
        except queue.Full:
            self._warn("too many notes wait")

    def wait(self, seconds: float) -> None:
        """Wait until what was put so far is sent, or so long."""
        sent = threading.Event()
        self.put(sent.set)
        sent.wait(seconds)

    def close(self) -> None:
        """Send what still waits, for at most CLOSE_SECONDS, and say so when something is left."""
        self._end = time.monotonic() + CLOSE_SECONDS
        self._closing.set()
        self.wait(CLOSE_SECONDS)
        left = self._notes.qsize()
        if left:
            logger.warning("tracking: the last notes of this run were not taken in %.0f s and are lost", CLOSE_SECONDS)
        else:
            self._notes.put(None)

    def _send_all(self) -> None:
        while (note := self._notes.get()) is not None:
            self._send(note)

    def _send(self, note: Callable[[], object]) -> None:
        end, pause = time.monotonic() + _TRY_SECONDS, _FIRST_PAUSE
        while not self._is_settled(note):
            if time.monotonic() > min(end, self._end):
                return
            if self._closing.wait(pause):
                time.sleep(_FIRST_PAUSE)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _is_settled(self, note: Callable[[], object]) -> bool:
        """Send a note. False where the store may take it later: it was locked, down or busy."""
        try:
            note()
        except Exception as error:  # noqa: BLE001 (whatever the store raises, the work goes on)
            self._warn(one_line(error))
            return not may_pass(error)
        return True

    def _warn(self, reason: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            logger.warning("tracking: a note was not taken (%s); the run goes on, later failures are not shown", reason)


def may_pass(error: Exception) -> bool:
    """Whether a later attempt may succeed: the store was locked, down or busy."""
    return getattr(error, "error_code", "") in _PASSING


def within(seconds: float, call: Callable[[], Answer]) -> Answer:
    """What a call returns or raises, or TimeoutError: a server that accepts and never answers must not hold up the work."""
    answers: queue.SimpleQueue[Answer | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(call())
        except Exception as error:  # noqa: BLE001 (it is raised to the caller)
            answers.put(error)

    threading.Thread(target=ask, daemon=True, name="tracking opens").start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer in {seconds:.0f} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer
