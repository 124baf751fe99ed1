"""Rows of a large JSON file, a list `[{...}, {...}]` or JSON Lines, one at a time: a gigabyte never stands in memory."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from pipeline.data.release_files import unusable
from pipeline.errors import DataError

CHUNK = 2**20
MAX_ROW = 2**23
"""Characters that one row may have; beyond it the file is taken for broken."""

_ENDS = frozenset(",] \t\n\r")


@dataclass(frozen=True, slots=True)
class DoubledKey:
    """Stands for an object that names a key twice: which of the two values was meant, nobody can tell."""

    key: str


def read_array(path: Path) -> Iterator[object]:
    """Elements of the array that the file is, or its values where it is JSON Lines (objects one after another).

    Bytes that are not UTF-8 arrive as lone surrogates, so that they cost their row and not the file; an object that names a key
    twice arrives as a DoubledKey. Raises DataError, naming file and position, where the JSON itself is broken.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
            yield from _Scanner(file, path).elements()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | DoubledKey:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    counts = Counter(key for key, _ in pairs)
    return DoubledKey(counts.most_common(1)[0][0])


class _Scanner:
    """A window that slides over a text file; `place` is the next character in it."""

    def __init__(self, file: TextIO, path: Path) -> None:
        self._file, self._path = file, path
        self._window, self._place, self._passed = "", 0, 0
        self._decoder = json.JSONDecoder(object_pairs_hook=_object)

    def elements(self) -> Iterator[object]:
        if self._peek() == "{":
            yield from self._lines()
            return
        self._expect("[", "is not a list of rows")
        if self._peek() != "]":
            yield self._value()
            while self._peek() != "]":
                self._expect(",", "is cut short or broken")
                yield self._value()
        self._place += 1
        if self._peek():
            raise self._broken("goes on behind the end of its list")

    def _lines(self) -> Iterator[object]:
        """Objects without a list around them. One object alone is what a list is wrapped in, unless the name says .jsonl."""
        try:
            value = self._value()
        except DataError as error:
            raise self._broken("is not a list of rows, or its first row is broken or cut short") from error
        if not self._peek() and self._path.suffix != ".jsonl":
            keys = ", ".join(map(repr, value)) or "no key" if isinstance(value, dict) else "a key twice"
            raise DataError(
                f"{self._path}: is not a list of rows but one object with {keys}; keep the list alone: [{{...}}, {{...}}]"
            )
        yield value
        while self._peek():
            yield self._value()

    def _value(self) -> object:
        self._peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._window, self._place)
            except (ValueError, RecursionError, MemoryError) as error:
                if not isinstance(error, ValueError) or not self._grow():
                    raise self._broken("is broken or cut short") from error
                continue
            # A number that the window's end cuts reads as a shorter number: only what follows shows that it is whole.
            if self._window[end : end + 1] in _ENDS or not self._grow():
                self._place = end
                return value

    def _expect(self, mark: str, complaint: str) -> None:
        if self._peek() != mark:
            raise self._broken(complaint)
        self._place += 1

    def _peek(self) -> str:
        """The next character that is no space, or nothing at the end of the file."""
        while True:
            while self._place < len(self._window):
                if not self._window[self._place].isspace():
                    return self._window[self._place]
                self._place += 1
            if not self._grow():
                return ""

    def _grow(self) -> bool:
        """Drop what is behind, read on by as much as is left, and say whether anything came."""
        rest = self._window[self._place :]
        more = "" if len(rest) > MAX_ROW else self._file.read(max(CHUNK, len(rest)))
        self._passed += self._place
        self._window, self._place = rest + more, 0
        return bool(more)

    def _broken(self, complaint: str) -> DataError:
        return unusable(self._path, f"{complaint} near character {self._passed + self._place}")
