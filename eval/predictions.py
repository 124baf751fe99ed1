"""Answers on disk as they come: one JSON line each, so that a killed evaluation goes on where it stopped.

A file's name holds the fingerprint of the model, questions and settings that its answers belong to: another style, length or
model has a file of its own, and comes back to it. The first line holds that fingerprint whole.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from eval.results import Setting
from pipeline.errors import DataError
from pipeline.lock import hold

_NAME_CHARACTERS = 12


def answers_path(folder: Path, name: str, fingerprint: str) -> Path:
    """Where the answers of a fingerprint are, for a question file and mode of that name."""
    return folder / f"{name}.{fingerprint[:_NAME_CHARACTERS]}.jsonl"


class PredictionFile:
    """An append-only file of answers by index, held by one process until it is closed: two would mix their answers.

    `conditions` are what the answers were given under (pixel limits, number type), as last noted.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        """Open or begin the file.

        Raises DataError for a file that is damaged elsewhere than in its last line, or of another fingerprint; PipelineError
        where another process holds it.
        """
        self.path = path
        self.answers: dict[str, str] = {}
        self.conditions: dict[str, Setting] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        try:
            hold(self._file, busy=f"{path}: another evaluation writes its answers there; wait for it, or give another --out")
            self._begin(fingerprint)
        except BaseException:
            self._file.close()
            raise

    def _begin(self, fingerprint: str) -> None:
        lines = _whole_lines(self.path)
        if not lines:
            self._write(_line({"fingerprint": fingerprint}))
            return
        header = _parsed(self.path, 1, lines[0])
        if header.get("fingerprint") != fingerprint:
            raise DataError(
                f"{self.path}: its answers belong to another model, data or settings; delete it, or give another --out"
            )
        for number, line in enumerate(lines[1:], start=2):
            entry = _parsed(self.path, number, line)
            noted = entry.get("conditions")
            if isinstance(noted, dict):
                self.conditions = noted
            else:
                self.answers.update([_entry(self.path, number, entry)])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def note(self, conditions: Mapping[str, Setting]) -> None:
        """Say what the answers that follow are given under."""
        if dict(conditions) != self.conditions:
            self._write(_line({"conditions": dict(conditions)}))
            self.conditions = dict(conditions)

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


def _line(value: Mapping[str, object]) -> bytes:
    # Escaped to ASCII: no character of an answer can then be taken for the end of a line.
    return json.dumps(value).encode("ascii") + b"\n"


def _entry(path: Path, number: int, entry: Mapping[str, object]) -> tuple[str, str]:
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
