"""How far a stage is, with rate and time left: a line that rewrites itself on a terminal, plain lines now and then elsewhere."""

import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TextIO

LINE_SECONDS = 5.0
BAR_SECONDS = 0.1
BAR_CELLS = 20
CLEAR_LINE = "\r\x1b[K"


@dataclass(slots=True)
class Progress:
    """Called with (what, done, total or None, note), as often as the work likes; shows no more than a reader can follow.

    The rate counts from the first call for a `what`, so that work found done (a resumed training) is not counted as done now.
    """

    stream: TextIO = field(default_factory=lambda: sys.stderr)
    clock: Callable[[], float] = time.monotonic
    _what: str = ""
    _begun: float = 0.0
    _first: int = 0
    _shown: float = float("-inf")
    _is_open: bool = False

    def __call__(self, what: str, done: int, total: int | None, note: str = "") -> None:
        """Take a report, and show it when the last one has stood long enough."""
        now = self.clock()
        if what != self._what or done < self._first:
            self._what, self._begun, self._first = what, now, done
        is_terminal = self.stream.isatty()
        if now - self._shown < (BAR_SECONDS if is_terminal else LINE_SECONDS):
            return
        self._shown = now
        text = self._text(done, total, note, now, bar=is_terminal)
        if is_terminal:
            self.stream.write(CLEAR_LINE + text[: shutil.get_terminal_size().columns - 1])
            self._is_open = True
        else:
            self.stream.write(text + "\n")
        self.stream.flush()

    def close(self) -> None:
        """Wipe the terminal's line, so that other output takes its place."""
        if self._is_open:
            self.stream.write(CLEAR_LINE)
            self.stream.flush()
            self._is_open = False

    def _text(self, done: int, total: int | None, note: str, now: float, *, bar: bool) -> str:
        if total is None and not done:
            return f"{self._what}: {note}"
        parts = [self._what + ":"]
        if bar and total:
            filled = min(BAR_CELLS * done // total, BAR_CELLS)
            parts.append(f"[{'#' * filled}{'.' * (BAR_CELLS - filled)}]")
        parts.append(f"{done}/{total}" if total else str(done))
        parts += self._pace(done, total, now)
        return " ".join([*parts, f"| {note}"] if note else parts)

    def _pace(self, done: int, total: int | None, now: float) -> list[str]:
        """Rate and time left, once there is something to reckon from."""
        elapsed, made = now - self._begun, done - self._first
        if elapsed <= 0 or made <= 0:
            return []
        rate = made / elapsed
        left = [f"{_clock((total - done) / rate)} left"] if total and done < total else []
        return [f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each", *left]


def _clock(seconds: float) -> str:
    """Seconds as 0:07, 12:30 or 3:05:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
