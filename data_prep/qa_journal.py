"""What the teacher has answered so far, in a file that only grows, so that a killed synthesis goes on without asking twice.

One JSON line an answer. A line that a kill cut short is dropped when the journal is opened again.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from pipeline.errors import DataError
from pipeline.sample import Side


def side_identity(side: Side, *, asked: Sequence[str]) -> str:
    """Equal for sides with the same picture bytes and texts that are `asked` the same of the same model (32 hex digits)."""
    digest = hashlib.sha256()
    pictures = [hashlib.sha256(picture).hexdigest() for picture in side.images]
    for part in (*asked, side.instruction, side.text, *pictures):
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()[:32]


class Journal:
    """Answers by side identity, kept in memory and on disk. Only one process may write a journal."""

    def __init__(self, path: Path) -> None:
        """Read what is there and go on after its last whole line. Raises DataError for a file that is no journal."""
        self.path = path
        self.answers: dict[str, str] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = path.open("a+b")
        self._file.seek(0)
        whole = self._read()
        self._file.truncate(whole)
        self._file.seek(whole)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def record(self, identity: str, answer: str) -> None:
        """Keep an answer. It is in the operating system's hands when this returns, so killing the process loses nothing."""
        self._file.write(json.dumps({"id": identity, "answer": answer}).encode() + b"\n")
        self._file.flush()
        self.answers[identity] = answer

    def sync(self) -> None:
        """Force what was recorded to the disk, so that a power cut loses nothing either."""
        os.fsync(self._file.fileno())

    def _read(self) -> int:
        """Load the lines; returns the bytes up to the end of the last whole one."""
        whole = 0
        for number, line in enumerate(self._file, start=1):
            if not line.endswith(b"\n"):
                break
            try:
                entry = json.loads(line)
                self.answers[entry["id"]] = entry["answer"]
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"{self.path}: line {number} is not an answer; delete that line, or the file to ask anew"
                ) from error
            whole += len(line)
        return whole
