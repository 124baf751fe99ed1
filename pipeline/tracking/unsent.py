"""What a store has not taken, kept in the work folder for `crem sync`: one folder a run, with lines of notes and its files.

A run that the store never opened has an id of ours until it is sent. A line that a kill cut off is not read.
"""

import fcntl
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from pipeline.tracking.address import one_line
from pipeline.tracking.notes import Note

logger = logging.getLogger(__name__)

FOLDER = "unsent"
NOTES, HEAD, FILES = "notes.jsonl", "run.json", "files"


@dataclass(slots=True)
class Unsent:
    """The folder of one run. Made when something is put into it; several processes never write one at once."""

    folder: Path
    _lines: TextIO | None = field(default=None, init=False)

    @property
    def run_id(self) -> str:
        """The run's id: the store's, or ours where the store has not opened it."""
        return self.folder.name

    @property
    def is_kept(self) -> bool:
        """Whether there is something to send."""
        return (self.folder / NOTES).is_file()

    def begin(self, head: Mapping[str, Any]) -> None:
        """Note how the run is to be made in a store: name, tags, milliseconds of its beginning. A run is begun once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / HEAD).exists():
            aside = self.folder / f".{HEAD}.aside"
            aside.write_text(json.dumps(head), encoding="utf-8")
            os.replace(aside, self.folder / HEAD)

    def head(self) -> dict[str, Any]:
        """What `begin` noted; empty for a run that a store opened."""
        try:
            return dict(json.loads((self.folder / HEAD).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return {}

    def add(self, notes: Sequence[Note]) -> None:
        """Keep notes. Raises OSError where the disk takes none."""
        if self._lines is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lines = (self.folder / NOTES).open("a", encoding="utf-8")
            _lock(self._lines)
            self._lines.write("\n" * bool(self._lines.tell()))  # a kill may have left half a line
        self._lines.write("".join(json.dumps(note.as_json()) + "\n" for note in notes))
        self._lines.flush()

    def take_file(self, path: Path) -> Path:
        """A copy of a file, whose own folder may move before it is sent. Raises OSError."""
        copy = self.folder / FILES / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        aside = copy.with_name(f".{copy.name}.aside")
        shutil.copyfile(path, aside)
        os.replace(aside, copy)
        return copy

    def notes(self) -> Iterator[Note]:
        """What is kept, in order; a line that is no note is passed over."""
        with (self.folder / NOTES).open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    yield Note.from_json(json.loads(line))
                except (ValueError, TypeError):
                    continue

    def is_written(self) -> bool:
        """Whether a process still writes to it."""
        with (self.folder / NOTES).open("a", encoding="utf-8") as lines:
            return not _lock(lines)

    def clear(self) -> None:
        """The store has taken the notes; copies of files, and how the run began, stay."""
        if self._lines is not None:
            self._lines.close()
            self._lines = None
        (self.folder / NOTES).unlink(missing_ok=True)

    def remove(self) -> None:
        """Everything was sent."""
        self.clear()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.parent.is_dir() and not any(self.folder.parent.iterdir()):
            self.folder.parent.rmdir()


@dataclass(slots=True)
class Keeper:
    """A run's notes into its folder alone, for `crem sync`."""

    unsent: Unsent
    _has_warned: bool = field(default=False, init=False)

    def put(self, note: Note) -> None:
        """Keep a note, or warn once."""
        try:
            self.unsent.add([note])
        except OSError as error:
            if not self._has_warned:
                logger.warning("tracking: a note was not kept (%s); the run goes on", one_line(error))
            self._has_warned = True

    def take_file(self, path: Path) -> Path:
        """A copy of a file. Raises OSError."""
        return self.unsent.take_file(path)

    def close(self) -> None:
        """Nothing is waited for."""


def unsent_runs(work: Path) -> list[Unsent]:
    """The runs of a work folder with something to send, those that began first in front."""
    found = [Unsent(folder) for folder in (work / FOLDER).glob("*") if (folder / NOTES).is_file()]
    return sorted(found, key=lambda run: (run.head().get("began", 0), run.run_id))


def _lock(file: TextIO) -> bool:
    """Lock an open file until it is closed. False where another process holds it; a file system without locks has none."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
