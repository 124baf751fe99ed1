"""Answers on disk as they come: one JSON line each, so that a killed evaluation goes on where it stopped.

The first line says which model, questions and settings the answers belong to; a file of anything else is begun anew, since
reusing answers by file name alone would score an older model.
"""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import DataError

logger = logging.getLogger(__name__)


class PredictionFile:
    """An append-only file of answers by index."""

    def __init__(self, path: Path, fingerprint: str) -> None:
        """Open or begin the file. Raises DataError for a file that is damaged elsewhere than in its last line."""
        self.path = path
        self.answers: dict[str, str] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = _whole_lines(path)
        header = {"fingerprint": fingerprint}
        if lines and _parsed(path, 1, lines[0]) == header:
            self.answers = dict(_entry(path, number, line) for number, line in enumerate(lines[1:], start=2))
            return
        if lines:
            logger.info("%s: answers of another model, data or settings; begun anew", path)
        path.write_bytes(_line(header))

    def append(self, answers: Mapping[str, str]) -> None:
        """Add answers by index; they are on the disk when this returns."""
        with self.path.open("ab") as file:
            file.write(b"".join(_line({"index": index, "prediction": text}) for index, text in answers.items()))
            file.flush()
            os.fsync(file.fileno())
        self.answers.update(answers)


def _whole_lines(path: Path) -> list[bytes]:
    """The lines of a file. What a kill left of an unfinished last line is cut off, in the file too."""
    if not path.exists():
        return []
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
