"""The encoders that a folder keeps embeddings of: listed, sized, and removed when nobody needs them any more."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.encode.embedding_cache import ENCODER_NAME
from pipeline.errors import DataError

DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedEncoder:
    """One encoder's folder: its fingerprint, the bytes of its files, and the seconds since a run last opened it."""

    folder: Path
    encoder: str
    num_bytes: int
    idle_seconds: float

    def remove(self) -> None:
        """Remove its embeddings; a run that asks for them makes them again."""
        (self.folder / ENCODER_NAME).unlink(missing_ok=True)  # first: what is left after a kill is no encoder's
        shutil.rmtree(self.folder)


def cached_encoders(root: Path) -> list[CachedEncoder]:
    """Every encoder in a folder of kept embeddings, the one used last first. Raises DataError when there is no such folder."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; embeddings are kept in <work>/embeddings unless --cache named another")
    return sorted(_found(root), key=lambda each: each.idle_seconds)


def _found(root: Path) -> Iterator[CachedEncoder]:
    now = time.time()
    for folder in (path for path in root.iterdir() if (path / ENCODER_NAME).is_file()):
        try:
            encoder = str(json.loads((folder / ENCODER_NAME).read_text(encoding="utf-8"))["encoder"])
        except (ValueError, KeyError, TypeError):
            encoder = "damaged"
        with os.scandir(folder) as files:
            num_bytes = sum(file.stat().st_size for file in files)
        opened = (folder / ENCODER_NAME).stat().st_mtime
        yield CachedEncoder(folder=folder, encoder=encoder, num_bytes=num_bytes, idle_seconds=max(0.0, now - opened))


def to_prune(
    encoders: list[CachedEncoder], *, idle_days: float | None = None, most_bytes: int | None = None
) -> list[CachedEncoder]:
    """Those that no run has opened for so long, and then as many more, idle longest first, as leave at most so many bytes."""
    idle = [] if idle_days is None else [each for each in encoders if each.idle_seconds >= idle_days * DAY_SECONDS]
    left = sorted((each for each in encoders if each not in idle), key=lambda each: each.idle_seconds)
    room = sum(each.num_bytes for each in left) if most_bytes is None else most_bytes
    while sum(each.num_bytes for each in left) > room:
        idle.append(left.pop())
    return idle
