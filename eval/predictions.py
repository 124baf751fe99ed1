"""Answers on disk as they come: one JSON line each, so that a killed evaluation goes on where it stopped.

The first line says which model, questions and settings the answers belong to; a file of anything else is begun anew, since
reusing answers by file name alone would score an older model.
"""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pipeline.errors import DataError
from pipeline.lock import hold

logger = logging.getLogger(__name__)


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
        if lines and _parsed(self.path, 1, lines[0]) == header:
            self.answers = dict(_entry(self.path, number, line) for number, line in enumerate(lines[1:], start=2))
            return
        if lines:
            logger.info("%s: answers of another model, data or settings; begun anew", self.path)
        self._file.truncate(0)
        self._write(_line(header))

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
