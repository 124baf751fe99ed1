"""Embeddings on disk: blocks of keys and vectors below a folder for each encoder, written whole or not at all.

A block is named by the sha256 of its bytes: one that was cut, or that a disk has damaged, is told by its name, and what it held
is encoded again. Any number of processes may write beside one another. No vector and no key stays in memory.
"""

import hashlib
import io
import json
import logging
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from pipeline.encode.scratch import scratch
from pipeline.encode.workload import KEY_BYTES
from pipeline.errors import PipelineError
from pipeline.manifest import file_digest, fingerprint, write_atomic

FOLDER = "embeddings"
"""Its usual name, in the work folder."""

ENCODER_NAME, SUFFIX = "encoder.json", ".block"
FORMAT = 1
"""To be raised when our own code comes to embed otherwise, or blocks have another form."""

_LIBRARIES = ("numpy", "pillow", "torch", "transformers")
_KEY = f"S{KEY_BYTES}"
_ENTRY = np.dtype([("key", _KEY), ("block", ">u4"), ("row", ">u4")])
"""A key, the number of its block, and its row there. As bytes, entries are in this order."""

logger = logging.getLogger(__name__)


class _Block(NamedTuple):
    """N vectors of size D, and where the keys and the vectors begin in the file."""

    shape: tuple[int, int]
    keys: int
    vectors: int


class EmbeddingCache:
    """The embeddings of one encoder: `add` writes some, `has` says which are there, `read` reads them."""

    def __init__(self, root: Path, encoder: str) -> None:
        """Open, or make, the folder of an encoder by its fingerprint. Embeddings of other library versions are not taken."""
        made_by = {"encoder": encoder, "format": FORMAT, "libraries": {name: version(name) for name in _LIBRARIES}}
        self.folder = root / fingerprint(made_by)[:32]
        if not (self.folder / ENCODER_NAME).is_file():
            write_atomic(self.folder / ENCODER_NAME, json.dumps(made_by, indent=1, sort_keys=True) + "\n")
        os.utime(self.folder / ENCODER_NAME)  # when it was last asked for
        self._blocks: dict[str, _Block] = {}
        self._whole: set[str] = set()
        self.include(sorted(path.name for path in self.folder.glob(f"*{SUFFIX}")))

    def add(self, keys: np.ndarray, vectors: np.ndarray) -> str:
        """Write a block of keys (N,) S32 and vectors (N, D) float32; its name."""
        arrays = keys.astype(_KEY), np.ascontiguousarray(vectors, dtype="<f4")
        content = b"".join(part for array in arrays for part in (_head(array), array.data))
        name = f"{hashlib.sha256(content).hexdigest()}{SUFFIX}"
        write_atomic(self.folder / name, content)
        self._whole.add(name)
        self.include([name])
        return name

    def include(self, names: Iterable[str]) -> None:
        """Take blocks in that this or another process has written. One that is no block is said and removed."""
        for name in names:
            if name not in self._blocks and (block := self._open(name)) is not None:
                self._blocks[name] = block
        self._is_indexed = False

    def has(self, keys: np.ndarray) -> np.ndarray:
        """Which of the keys (N,) have a vector here (N,) bool. Blocks are held against their digests before they are believed."""
        found, blocks, _ = self._find(keys)
        unread = {self._names[number] for number in np.unique(blocks[found]).tolist()} - self._whole
        damaged = [name for name in sorted(unread) if f"{self._digest(name)}{SUFFIX}" != name]
        self._whole |= unread.difference(damaged)
        for name in damaged:
            del self._blocks[name]
            self._give_up(name, "its bytes are not those that were written")
        if not damaged:
            return found
        self._is_indexed = False
        return self.has(keys)

    def read(self, keys: np.ndarray, out: np.ndarray) -> None:
        """Copy the vectors of keys (N,) that are here into `out` (N, D), block by block."""
        found, blocks, rows = self._find(keys)
        assert found.all(), "every key has a vector"
        order = np.argsort(blocks, kind="stable")
        for part in np.split(order, np.flatnonzero(np.diff(blocks[order])) + 1):
            if len(part):
                out[part] = self._vectors(self._names[blocks[part[0]]])[rows[part]]

    @property
    def width(self) -> int:
        """Size D of a vector; 0 where there is none yet."""
        return next((block.shape[1] for block in self._blocks.values()), 0)

    def _index(self) -> None:
        """Sort all keys, each with its block and its row there."""
        self._names, start = sorted(self._blocks), 0
        self._entries = scratch(self.folder, sum(block.shape[0] for block in self._blocks.values()), _ENTRY)
        for number, name in enumerate(self._names):
            count = self._blocks[name].shape[0]
            part = self._entries[start : start + count]
            part["key"] = self._keys(name)
            part["block"], part["row"] = number, np.arange(count)
            start += count
        self._entries.view(f"S{_ENTRY.itemsize}").sort()
        self._is_indexed = True

    def _keys(self, name: str) -> np.ndarray:
        block = self._blocks[name]
        with _kept(self.folder / name) as path:
            return np.fromfile(path, dtype=_KEY, count=block.shape[0], offset=block.keys)

    def _vectors(self, name: str) -> np.ndarray:
        """Mapped, and opened for every use: files that stay open are few enough on many machines to run out of."""
        block = self._blocks[name]
        with _kept(self.folder / name) as path:
            return np.memmap(path, dtype="<f4", mode="r", offset=block.vectors, shape=block.shape)

    def _digest(self, name: str) -> str:
        with _kept(self.folder / name) as path:
            return file_digest(path)

    def _find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Whether a key (N,) is here, the number of its block, and its row there; 0 for one that is not."""
        if not self._is_indexed:
            self._index()
        if not len(self._entries):
            return np.zeros(len(keys), dtype=bool), *np.zeros((2, len(keys)), dtype=np.int64)
        places = np.searchsorted(self._entries["key"], keys).clip(max=len(self._entries) - 1)
        entries = self._entries[places]
        found = entries["key"] == keys
        return found, np.where(found, entries["block"], 0), np.where(found, entries["row"], 0)

    def _open(self, name: str) -> _Block | None:
        path = self.folder / name
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                of_keys, key = _header(file)
                keys = file.tell()
                if key != np.dtype(_KEY) or len(of_keys) != 1 or not 0 < of_keys[0] <= size // KEY_BYTES:
                    raise ValueError("it holds something else")
                file.seek(KEY_BYTES * of_keys[0], os.SEEK_CUR)
                shape, kind = _header(file)
                start = file.tell()
            if kind != np.dtype("<f4") or len(shape) != 2 or shape[:1] != of_keys:
                raise ValueError("it holds something else")
            if size != start + kind.itemsize * math.prod(shape):
                raise ValueError("it was cut")
            return _Block(shape=(shape[0], shape[1]), keys=keys, vectors=start)
        except FileNotFoundError:
            return None  # pruned meanwhile
        except (ValueError, EOFError) as error:
            self._give_up(name, str(error))
            return None

    def _give_up(self, name: str, why: str) -> None:
        logger.warning("%s: damaged (%s); it is removed, and what it held is encoded again", self.folder / name, why)
        (self.folder / name).unlink(missing_ok=True)


@contextmanager
def _kept(path: Path) -> Iterator[Path]:
    try:
        yield path
    except FileNotFoundError as error:
        raise PipelineError(f"{path}: is gone; see to it that nothing else empties the folder, and run this again") from error


def _head(array: np.ndarray) -> bytes:
    """What stands before an array in a file of numpy's, which as a whole would be copied on its way twice."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(array))
    return head.getvalue()


def _header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of the array that follows. Raises ValueError where there is none."""
    np.lib.format.read_magic(file)
    shape, _, kind = np.lib.format.read_array_header_1_0(file)
    return shape, kind
