"""What the teacher has answered so far, in a file that only grows, so that a killed synthesis goes on without asking twice.

One JSON line an answer, as the model gave it: what the filters leave out stays here. Of two lines with one identity the later
holds. A line that a kill cut short is dropped when the journal is opened again. Lines of before `finish_reason` and `max_tokens`
were kept lack the two.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from pipeline.chat import Answer
from pipeline.errors import DataError
from pipeline.lock import hold
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
    """Answers by side identity, kept in memory and on disk. Only one process can have a journal open."""

    def __init__(self, path: Path) -> None:
        """Read what is there and go on after its last whole line.

        Raises DataError for a file that is no journal, PipelineError where another process has it open.
        """
        self.path = path
        self.answers: dict[str, Answer] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = path.open("a+b")
        try:
            self._go_on()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def record(self, identity: str, answer: Answer) -> None:
        """Keep an answer. It is in the operating system's hands when this returns, so killing the process loses nothing."""
        entry = {
            "id": identity,
            "answer": answer.text,
            "finish_reason": answer.finish_reason,
            "max_tokens": answer.max_tokens,
        }
        self._file.write(json.dumps(entry).encode() + b"\n")
        self._file.flush()
        self.answers[identity] = answer

    def sync(self) -> None:
        """Force what was recorded to the disk, so that a power cut loses nothing either."""
        os.fsync(self._file.fileno())

    def _go_on(self) -> None:
        """Lock the file, read it and drop a last line that was cut short."""
        hold(self._file, busy=f"{self.path}: another process synthesizes into this folder; wait for it, or name another folder")
        self._file.seek(0)
        whole = self._read()
        self._file.truncate(whole)
        self._file.seek(whole)

    def _read(self) -> int:
        """Load the lines; returns the bytes up to the end of the last whole one."""
        whole = 0
        for number, line in enumerate(self._file, start=1):
            if not line.endswith(b"\n"):
                break
            try:
                identity, answer = _entry(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"{self.path}: line {number} is not an answer; delete that line, or the file to ask anew"
                ) from error
            self.answers[identity] = answer
            whole += len(line)
        return whole


def _entry(line: Any) -> tuple[str, Answer]:
    """A line's identity and answer. Raises ValueError, KeyError or TypeError for anything else, half of a surrogate pair too."""
    identity, text, finish_reason = line["id"], line["answer"], line.get("finish_reason", "")
    if not all(isinstance(value, str) for value in (identity, text, finish_reason)):
        raise TypeError("not texts")
    f"{text}{finish_reason}".encode()
    return identity, Answer(text=text, finish_reason=finish_reason, max_tokens=int(line.get("max_tokens", 0)))
