"""Answers on disk as they come: one JSON line each, so that a killed evaluation goes on where it stopped.

A file's name holds the fingerprint of the model, questions and settings that its answers belong to: another style, length or
model has a file of its own, and comes back to it. The first line holds that fingerprint whole.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from eval.results import Setting
from pipeline.errors import DataError
from pipeline.lock import hold
from pipeline.manifest import fingerprint

_NAME_CHARACTERS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPlace:
    """Where the answers of a model to questions are. `name` is of the question file and mode, `asked` names all but the model."""

    folder: Path
    name: str
    model: str
    asked: str

    @property
    def fingerprint(self) -> str:
        """What the answers belong to."""
        return fingerprint([self.model, self.asked])

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / f"{self.name}.{self.fingerprint[:_NAME_CHARACTERS]}.jsonl"

    def part(self, rank: int) -> Path:
        """The file that a rank writes; the first one writes the answers' own."""
        return self.path.with_suffix(f".part-{rank}.jsonl") if rank else self.path

    @property
    def header(self) -> dict[str, str]:
        """The first line of each file."""
        return {"fingerprint": self.fingerprint, "model": self.model, "asked": self.asked}

    def read(self) -> "tuple[dict[str, str], dict[str, Setting]]":
        """Answers and conditions as they stand, read beside whoever writes them; nothing where there is no file."""
        return _read(self.path, _whole(self.path.read_bytes()), self.fingerprint) if self.path.is_file() else ({}, {})


def models_that_answered(folder: Path, name: str, asked: str) -> list[str]:
    """The models whose answers to these questions lie in a folder."""
    found = []
    for path in sorted(folder.glob(f"{name}.*.jsonl")):
        lines = _whole(path.read_bytes())
        header = _parsed(path, 1, lines[0]) if lines else {}
        if header.get("asked") == asked and ".part-" not in path.name:
            found.append(str(header["model"]))
    return found


class PredictionFile:
    """An append-only file of answers by index, held by one process until it is closed: two would mix their answers.

    `conditions` are what the answers were given under (pixel limits, number type), as last noted.
    """

    def __init__(self, path: Path, header: Mapping[str, str]) -> None:
        """Open or begin the file of a header with a `fingerprint`.

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
            self._begin(header)
        except BaseException:
            self._file.close()
            raise

    def _begin(self, header: Mapping[str, str]) -> None:
        content = self.path.read_bytes()
        lines = _whole(content)
        whole = sum(len(line) + 1 for line in lines)
        if whole < len(content):  # what a kill left of an unfinished last line
            os.truncate(self.path, whole)
        if lines:
            self.answers, self.conditions = _read(self.path, lines, header["fingerprint"])
        else:
            self._write(_line(header))

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

    def take_in(self, part: Path) -> None:
        """Add the answers of a part's file, which then goes."""
        answers, conditions = _read(part, _whole(part.read_bytes()), None)
        self.note(conditions or self.conditions)
        self.append({index: text for index, text in answers.items() if index not in self.answers})
        part.unlink()

    def _write(self, lines: bytes) -> None:
        self._file.write(lines)
        self._file.flush()
        os.fsync(self._file.fileno())


def _whole(content: bytes) -> list[bytes]:
    """The lines that have an end."""
    return content[: content.rfind(b"\n") + 1].splitlines()


def _read(path: Path, lines: list[bytes], wanted: str | None) -> tuple[dict[str, str], dict[str, Setting]]:
    """Answers and conditions of a file's lines. Raises DataError for damage, or another fingerprint than the one wanted."""
    answers: dict[str, str] = {}
    conditions: dict[str, Setting] = {}
    for number, line in enumerate(lines, start=1):
        entry = _parsed(path, number, line)
        if number == 1:
            if wanted not in (None, entry.get("fingerprint")):
                raise DataError(f"{path}: its answers belong to another model, data or settings; delete the file")
        elif isinstance(noted := entry.get("conditions"), dict):
            conditions = noted
        else:
            answers.update([_entry(path, number, entry)])
    return answers, conditions


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
