"""What lies in folders, as one fingerprint that is taken at every start: nothing is opened, and no picture looked at.

A corpus may have millions of unpacked pictures, and asking the file system for each would take minutes. Of a corpus, data files
count by name, size and time. A folder with pictures in it counts by its own time, which the file system sets when a file in it
is added, removed, renamed or replaced by another. Notes, checksums and the like count for nothing.

Not noticed: a picture whose bytes were written over in place. `--force` does the work again all the same.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from pipeline.manifest import fingerprint

DATA_SUFFIXES = frozenset({".json", ".jsonl", ".parquet", ".tsv", ".zip"})
PICTURE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp", ""})
"""A name without a suffix is taken for a picture, as some corpora have them."""

_Entry = tuple[str, int, int]


def corpus_state(*places: Path) -> str:
    """A fingerprint of the data files and the folders of pictures at and below some places; one may be missing."""
    return fingerprint([[place.name, *_corpus_entries(place)] for place in places])


def every_file_state(folder: Path) -> str:
    """A fingerprint of names, sizes and times of all files below a folder."""
    return fingerprint([_entry(folder, Path(name, file)) for name, files, _ in _walk(folder) for file in files])


def _corpus_entries(place: Path) -> list[_Entry]:
    entries = [_entry(place, place)] if place.is_file() else []
    for name, files, changed in _walk(place):
        suffixes = [os.path.splitext(file)[1].lower() for file in files]
        named = zip(files, suffixes, strict=True)
        entries += [_entry(place, Path(name, file)) for file, suffix in named if suffix in DATA_SUFFIXES]
        if not PICTURE_SUFFIXES.isdisjoint(suffixes):
            entries.append((f"{Path(name).relative_to(place).as_posix()}/", 0, changed))
    return entries


def _entry(base: Path, path: Path) -> _Entry:
    """Name, size and time of a file; a link to nowhere and what is no file have neither."""
    name = path.relative_to(base).as_posix()
    try:
        state = path.stat()
    except OSError:
        return name, -1, 0
    return (name, state.st_size, state.st_mtime_ns) if stat.S_ISREG(state.st_mode) else (name, -1, 0)


def _walk(folder: Path) -> Iterator[tuple[str, list[str], int]]:
    """Each folder below, its file names in order and its time; linked folders too, each once: corpora are often links."""
    seen: set[tuple[int, int]] = set()
    for name, folders, files in os.walk(folder, followlinks=True):
        state = os.stat(name)
        if (state.st_dev, state.st_ino) in seen:
            folders.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        folders.sort()
        yield name, sorted(files), state.st_mtime_ns
