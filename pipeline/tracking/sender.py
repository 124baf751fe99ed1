"""Notes on their way to a store: one thread takes them in order, so that the work waits for no slow server or locked file."""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from pipeline.tracking.address import one_line
from pipeline.tracking.notes import Note, joined
from pipeline.tracking.unsent import Unsent

Answer = TypeVar("Answer")
logger = logging.getLogger(__name__)

_MAX_WAITING = 2_000
"""Notes in memory, of a thousand numbers at most; what is more goes to the file alone."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_TRY_SECONDS = 600.0
"""A note that a store which answers does not take for so long is given up: it would hold up all others."""

CLOSE_SECONDS = 20.0
"""How long the end of a stage waits for notes that are still on their way."""

AWAY_SECONDS = 2.0
"""How long it waits where the store is known to be away and a file keeps the notes."""

_PASSING = ("TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR", "REQUEST_LIMIT_EXCEEDED")
"""MLflow's codes for a locked database, and for a server that is down or too busy."""


class Sender:
    """Sends notes in order. A failure is the store's, never the stage's: it is warned of once.

    `deliver` tells the store a note, `answers` asks it anything at all. What a store refuses is dropped. While it does not
    answer, notes wait, are tried again, and lie in `unsent` too, where there is such a folder: a kill does not lose them, and
    what is left at the end stays there.
    """

    def __init__(self, deliver: Callable[[Note], object], unsent: Unsent | None, answers: Callable[[], object]) -> None:
        self._deliver, self._unsent, self._answers = deliver, unsent, answers
        self._waiting: deque[Note] = deque()
        self._has_warned = self._is_away = self._is_left = False
        self._holds_more = unsent is not None and unsent.is_kept
        self._changed, self._closing = threading.Condition(), threading.Event()
        threading.Thread(target=self._send_all, daemon=True, name="tracking").start()

    def put(self, note: Note) -> None:
        """Send a note when its turn comes."""
        with self._changed:
            if self._is_away:
                self._keep([note])
            last = joined(self._waiting[-1], note) if len(self._waiting) > 1 else None  # the first is under way
            if last is not None:
                self._waiting[-1] = last
            elif len(self._waiting) < _MAX_WAITING:
                self._waiting.append(note)
            elif self._is_away and self._unsent is not None:
                self._holds_more = True
            else:
                self._warn("too many notes wait")
            self._changed.notify_all()

    def take_file(self, path: Path) -> Path:
        """Where a file lies until it is sent: its own folder may move before."""
        return path if self._unsent is None else self._unsent.take_file(path)

    def close(self) -> None:
        """Send what still waits, for a while, and say so when something is left."""
        with self._changed:
            self._closing.set()
            self._changed.notify_all()
            seconds = AWAY_SECONDS if self._is_away and self._unsent is not None else CLOSE_SECONDS
            self._changed.wait_for(lambda: not self._waiting, seconds)
            self._is_left = bool(self._waiting)
            if self._is_left and not self._is_away:
                self._keep(self._waiting)
        if self._unsent is None and self._is_left:
            logger.warning("tracking: the last notes of this run were not taken in %.0f s and are lost", seconds)
        elif self._unsent is not None and (self._is_left or self._holds_more):
            logger.warning(
                "tracking: what the store did not take is kept in %s; send it later: crem sync --work %s",
                self._unsent.folder,
                self._unsent.folder.parent.parent,
            )
        elif self._unsent is not None:
            self._unsent.remove()

    def _send_all(self) -> None:
        while (note := self._next()) is not None:
            self._send(note)
            with self._changed:
                if self._is_left:
                    return
                self._waiting.popleft()
                if not self._waiting:
                    self._come_back()
                self._changed.notify_all()

    def _next(self) -> Note | None:
        """The note whose turn it is; None when all is sent and closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing.is_set())
            return self._waiting[0] if self._waiting and not self._is_left else None

    def _send(self, note: Note) -> None:
        """Try a note until the store takes or refuses it, or nobody waits any more."""
        end, pause = time.monotonic() + _TRY_SECONDS, _FIRST_PAUSE
        while not self._is_settled(note) and not self._is_left:
            self._go_away()
            if time.monotonic() > end and self._does_answer():
                return
            if self._closing.wait(pause):
                time.sleep(_FIRST_PAUSE)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _go_away(self) -> None:
        """From the first failure on, what waits lies in the file too."""
        with self._changed:
            if not self._is_away and not self._is_left:
                self._is_away = True
                self._keep(self._waiting)

    def _come_back(self) -> None:
        """The store has taken all: the file goes, unless it holds more than memory did."""
        if self._is_away and self._unsent is not None and not self._holds_more:
            self._unsent.clear()
        self._is_away = False

    def _keep(self, notes: Sequence[Note]) -> None:
        """Put notes into the file, if there is one."""
        if self._unsent is None:
            return
        try:
            self._unsent.add(notes)
        except OSError as error:
            self._warn(one_line(error))

    def _does_answer(self) -> bool:
        try:
            self._answers()
        except Exception:  # noqa: BLE001 (whatever the store raises, the work goes on)
            return False
        return True

    def _is_settled(self, note: Note) -> bool:
        """Send a note. False where the store may take it later: it was locked, down or busy."""
        try:
            self._deliver(note)
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
