"""Answers on disk as they come: one JSON line each, so that a killed evaluation goes on where it stopped.

The first line says which model, questions and settings the answers belong to: reusing answers by file name alone would score an
older model. Those of anything else wait in a file beside it, and come back when they are asked for again.
"""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pipeline import manifest
from pipeline.errors import DataError
from pipeline.lock import hold

logger = logging.getLogger(__name__)

_SUFFIX_CHARACTERS = 12


class PredictionFile:
    """An append-only file of answers by index, held by one process until it is closed: two would mix their answers."""

    def __init__(self, path: Path, fingerprint: str) -> None:
        """Open or begin the file.

        Raises DataError for a file that is damaged elsewhere than in its last line, PipelineError where another process holds it.
        """
        self.path = path
        self.answers: dict[str, str] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        try:
            hold(self._file, busy=f"{path}: another evaluation writes its answers there; wait for it, or give another --out")
            self._begin({"fingerprint": fingerprint})
        except BaseException:
            self._file.close()
            raise

    def _begin(self, header: Mapping[str, str]) -> None:
        lines = _whole_lines(self.path)
        if not lines or _parsed(self.path, 1, lines[0]) != header:
            lines = self._change(lines, header)
        self.answers = dict(_entry(self.path, number, line) for number, line in enumerate(lines[1:], start=2))

    def _change(self, lines: list[bytes], header: Mapping[str, str]) -> list[bytes]:
        """Put what the file holds aside, and bring back, or begin, what belongs to `header`. Returns the lines of that."""
        if lines:
            place = self._aside(_parsed(self.path, 1, lines[0]))
            manifest.write_atomic(place, b"\n".join([*lines, b""]))
            logger.info("%s: answers of another model, data or settings; they are now in %s", self.path, place.name)
        back = self._aside(header)
        found = _whole_lines(back) if lines and back.is_file() else []  # a file that was removed is to be made anew
        wanted = found or [_line(header).rstrip()]
        self._file.truncate(0)
        self._write(b"\n".join([*wanted, b""]))
        return wanted

    def _aside(self, header: Mapping[str, object]) -> Path:
        return self.path.with_suffix(f".{manifest.fingerprint(header)[:_SUFFIX_CHARACTERS]}{self.path.suffix}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def append(self, answers: Mapping[str, str]) -> None:
        """Add answers by index; they are on the disk when this returns."""
        self._write(b"".join(_line({"index": index, "prediction": text}) for index, text in answers.items()))
        self.answers.update(answers)

    def _write(self, lines: bytes) -> None:
        self._file.write(lines)
        self._file.flush()
        os.fsync(self._file.fileno())


def _whole_lines(path: Path) -> list[bytes]:
    """The lines of a file. What a kill left of an unfinished last line is cut off, in the file too."""
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        os.truncate(path, len(whole))
    return whole.splitlines()


def _line(value: Mapping[str, str]) -> bytes:
    # Escaped to ASCII: no character of an answer can then be taken for the end of a line.
    return json.dumps(value).encode("ascii") + b"\n"


def _entry(path: Path, number: int, line: bytes) -> tuple[str, str]:
    entry = _parsed(path, number, line)
    try:
        return str(entry["index"]), str(entry["prediction"])
    except KeyError as error:
        raise DataError(f"{path}: line {number} has no {error.args[0]}; delete the file so that it is made again") from error


def _parsed(path: Path, number: int, line: bytes) -> dict[str, object]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise DataError(f"{path}: line {number} is not JSON ({error}); delete the file so that it is made again") from error
    return value if isinstance(value, dict) else {}
