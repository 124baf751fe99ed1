"""How far a stage is, with its rate and the time left: a bar on a terminal, a plain line every few seconds elsewhere."""

import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TextIO

LINE_SECONDS = 5.0
BAR_SECONDS = 0.1
BAR_CELLS = 20


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
        """Take a report and show it when it is due: the last piece of something always is."""
        now = self.clock()
        if what != self._what or done < self._first:
            self._what, self._begun, self._first, self._shown = what, now, done, float("-inf")
        is_terminal = self.stream.isatty()
        is_last = total is not None and done >= total
        if not is_last and now - self._shown < (BAR_SECONDS if is_terminal else LINE_SECONDS):
            return
        self._shown = now
        text = self._text(done, total, note, now, bar=is_terminal)
        self._write(text, rewrite=is_terminal, end=is_last or total is None)

    def close(self) -> None:
        """Leave the bar's line, so that other output starts on a fresh one."""
        if self._is_open:
            self.stream.write("\n")
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

    def _write(self, text: str, *, rewrite: bool, end: bool) -> None:
        if rewrite:
            width = shutil.get_terminal_size().columns - 1
            self.stream.write(f"\r{text[:width]}\x1b[K")
            self._is_open = True
            if end:
                self.close()
        else:
            self.stream.write(text + "\n")
        self.stream.flush()


def _clock(seconds: float) -> str:
    """Seconds as 0:07, 12:30 or 3:05:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
