"""Answers in a file that only grows, so that whoever was killed goes on without asking twice.

One JSON line an answer, as the model gave it. Of two lines with one key the later holds. A line that a kill cut short is dropped
when the journal is opened again. Lines of an earlier form lack `finish_reason`, `max_tokens` or `tokens`. Which key's line begins
where is kept in a private SQLite file that goes with the process: memory stays flat, whatever the number of answers.
"""

import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from pipeline.chat.reply import Answer
from pipeline.errors import DataError
from pipeline.lock import hold

_CACHE_KIB = 16 << 10
_SCHEMA = (
    "CREATE TABLE lines (key TEXT PRIMARY KEY, file INTEGER, start INTEGER) WITHOUT ROWID",
    "CREATE TABLE failures (key TEXT PRIMARY KEY, kind TEXT, reason TEXT) WITHOUT ROWID",
)


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a request has no answer: a word to count by, and a sentence."""

    kind: str
    reason: str


class Journal:
    """Answers by key. Only one process can have a journal open; any thread of it may use it.

    `beside` are journals of others, which are read and never written: what they hold at the opening counts as answered.
    """

    def __init__(self, path: Path, *, beside: Sequence[Path] = ()) -> None:
        """Read what is there and go on after its last whole line.

        Raises DataError for a file that is no journal, PipelineError where another process has it open.
        """
        self.path, self._paths = path, [path, *beside]
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock, self._is_unsynced = threading.Lock(), False
        self._index = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._files: list[BinaryIO] = []
        try:
            self._begin_index()
            self._files.append(path.open("a+b"))
            hold(self._files[0], busy=f"{path}: another process keeps answers there; wait for it, or name another folder")
            self._files += [other.open("rb") for other in beside]
            for number in range(1, len(self._files)):
                self._take_in(number)
            self._end = self._go_on()
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.sync()
        self._close()

    def __len__(self) -> int:
        """How many keys have an answer."""
        with self._lock:
            (count,) = self._index.execute("SELECT COUNT(*) FROM lines").fetchone()
        return int(count)

    def get(self, key: str) -> Answer | None:
        """The last answer that was recorded for a key."""
        with self._lock:
            place = self._index.execute("SELECT file, start FROM lines WHERE key = ?", (key,)).fetchone()
            if place is None:
                return None
            number, start = place
            self._files[number].seek(start)
            line = self._files[number].readline()
        found, answer = _entry(json.loads(line))
        assert found == key, "a journal only grows"
        return answer

    def record(self, key: str, answer: Answer) -> None:
        """Keep an answer. It is in the operating system's hands when this returns, so killing the process loses nothing."""
        line = _line(key, answer)
        with self._lock:
            file = self._files[0]
            file.seek(0, os.SEEK_END)
            file.write(line)
            file.flush()
            self._index.execute("INSERT OR REPLACE INTO lines VALUES (?, 0, ?)", (key, self._end))
            self._end += len(line)
            self._is_unsynced = True

    def known(self, key: str, max_tokens: int) -> Answer | Failed | None:
        """What need not be asked for: a failure of this process, or an answer, unless a higher limit may make it whole."""
        if (failed := self.failed(key)) is not None:
            return failed
        answer = self.get(key)
        return None if answer is not None and answer.is_cut and answer.max_tokens < max_tokens else answer

    def failed(self, key: str) -> Failed | None:
        """Why there was no answer in this process; nothing of it is written down, so that the next one asks again."""
        with self._lock:
            found = self._index.execute("SELECT kind, reason FROM failures WHERE key = ?", (key,)).fetchone()
        return Failed(*found) if found else None

    def note_failed(self, key: str, failed: Failed) -> None:
        """Remember a failure as long as this process has the journal open."""
        with self._lock:
            self._index.execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?)", (key, failed.kind, failed.reason))

    def sync(self) -> None:
        """Force what was recorded to the disk, so that a power cut loses nothing either."""
        if self._is_unsynced:
            self._is_unsynced = False
            os.fsync(self._files[0].fileno())

    def _close(self) -> None:
        for file in self._files:
            file.close()
        self._index.close()

    def _begin_index(self) -> None:
        for setting in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}", "temp_store = FILE"):
            self._index.execute(f"PRAGMA {setting}")
        for table in _SCHEMA:
            self._index.execute(table)

    def _go_on(self) -> int:
        """Read our file last, as its lines hold over others; drop a last line that was cut short. Returns the bytes that stay."""
        file = self._files[0]
        file.seek(0)
        whole = self._take_in(0)
        file.truncate(whole)
        return whole

    def _take_in(self, number: int) -> int:
        """Note where the lines of a file begin. Returns the bytes up to the end of its last whole line."""
        whole = 0

        def places() -> Iterator[tuple[str, int, int]]:
            nonlocal whole
            for place, line in enumerate(self._files[number], start=1):
                if not line.endswith(b"\n"):
                    return
                try:
                    key, _ = _entry(json.loads(line))
                except (ValueError, KeyError, TypeError) as error:
                    raise DataError(
                        f"{self._paths[number]}: line {place} is not an answer; delete that line, or the file to ask anew"
                    ) from error
                yield key, number, whole
                whole += len(line)

        self._index.execute("BEGIN")
        self._index.executemany("INSERT OR REPLACE INTO lines VALUES (?, ?, ?)", places())
        self._index.execute("COMMIT")
        return whole


def _line(key: str, answer: Answer) -> bytes:
    entry: dict[str, object] = {
        "id": key,
        "answer": answer.text,
        "finish_reason": answer.finish_reason,
        "max_tokens": answer.max_tokens,
    }
    if any(answer.tokens):
        entry["tokens"] = answer.tokens
    if answer.top_logprobs:
        entry["top_logprobs"] = answer.top_logprobs
    return json.dumps(entry).encode() + b"\n"


def _entry(line: Any) -> tuple[str, Answer]:
    """A line's key and answer. Raises ValueError, KeyError or TypeError for anything else, half of a surrogate pair too."""
    key, text, finish_reason = line["id"], line["answer"], line.get("finish_reason", "")
    if not all(isinstance(value, str) for value in (key, text, finish_reason)):
        raise TypeError("not texts")
    f"{text}{finish_reason}".encode()
    prompt, told = line.get("tokens", (0, 0))
    logprobs = tuple(tuple((str(token), float(logprob)) for token, logprob in place) for place in line.get("top_logprobs", ()))
    answer = Answer(
        text=text,
        finish_reason=finish_reason,
        max_tokens=int(line.get("max_tokens", 0)),
        tokens=(int(prompt), int(told)),
        top_logprobs=logprobs,
    )
    return key, answer
