"""Embeddings on disk: blocks of keys and vectors below a folder for each encoder, written whole or not at all.

A block is named by the sha256 of its bytes: one that was cut, or that a disk has damaged, is told by its name, and what it held
is encoded again. Any number of processes may write beside one another. Vectors are memory-mapped.
"""

import hashlib
import io
import json
import logging
import math
import os
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pipeline.encode.workload import KEY_BYTES
from pipeline.manifest import file_digest, fingerprint, write_atomic

FOLDER = "embeddings"
"""Its usual name, in the work folder."""

ENCODER_NAME, SUFFIX = "encoder.json", ".block"
FORMAT = 1
"""To be raised when our own code comes to embed otherwise, or blocks have another form."""

_LIBRARIES = ("numpy", "pillow", "torch", "transformers")
_KEY = f"S{KEY_BYTES}"
_ASKED_KEYS = 1 << 16
"""Keys that are looked for at a time: what that takes besides does not grow with their number."""

logger = logging.getLogger(__name__)


class EmbeddingCache:
    """The embeddings of one encoder: `add` writes some, `has` says which are there, `read` reads them."""

    def __init__(self, root: Path, encoder: str) -> None:
        """Open, or make, the folder of an encoder by its fingerprint. Embeddings of other library versions are not taken."""
        made_by = {"encoder": encoder, "format": FORMAT, "libraries": {name: version(name) for name in _LIBRARIES}}
        self.folder = root / fingerprint(made_by)[:32]
        if not (self.folder / ENCODER_NAME).is_file():
            write_atomic(self.folder / ENCODER_NAME, json.dumps(made_by, indent=1, sort_keys=True) + "\n")
        os.utime(self.folder / ENCODER_NAME)  # when it was last asked for
        self._blocks: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._whole: set[str] = set()
        self.include(sorted(path.name for path in self.folder.glob(f"*{SUFFIX}")))

    def add(self, keys: np.ndarray, vectors: np.ndarray) -> str:
        """Write a block of keys (N,) S32 and vectors (N, D) float32; its name."""
        content = io.BytesIO()
        np.save(content, keys.astype(_KEY), allow_pickle=False)
        np.save(content, np.ascontiguousarray(vectors, dtype="<f4"), allow_pickle=False)
        name = f"{hashlib.sha256(content.getvalue()).hexdigest()}{SUFFIX}"
        write_atomic(self.folder / name, content.getvalue())
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
        found, asked = np.zeros(len(keys), dtype=bool), set[int]()
        for start in range(0, len(keys), _ASKED_KEYS):
            part = slice(start, start + _ASKED_KEYS)
            found[part], blocks, _ = self._find(keys[part])
            asked.update(np.unique(blocks[found[part]]).tolist())
        unread = {self._names[number] for number in asked} - self._whole
        damaged = [name for name in sorted(unread) if f"{file_digest(self.folder / name)}{SUFFIX}" != name]
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
                out[part] = self._blocks[self._names[blocks[part[0]]]][1][rows[part]]

    @property
    def width(self) -> int:
        """Size D of a vector; 0 where there is none yet."""
        return next((vectors.shape[1] for _, vectors in self._blocks.values()), 0)

    def _index(self) -> None:
        """All keys in order, each with its block and its row there."""
        self._names = sorted(self._blocks)
        keys = [self._blocks[name][0] for name in self._names]
        every, sizes = np.concatenate([np.zeros(0, dtype=_KEY), *keys]), [len(part) for part in keys]
        order = np.argsort(every, kind="stable").astype(np.int32)
        self._keys = every[order]
        del every
        self._owners = np.repeat(np.arange(len(keys), dtype=np.int32), sizes)[order]
        self._rows = np.concatenate([np.zeros(0, dtype=np.int32), *(np.arange(size, dtype=np.int32) for size in sizes)])[order]
        self._is_indexed = True

    def _find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Whether a key (N,) is here, the number of its block, and its row there; 0 for one that is not."""
        if not self._is_indexed:
            self._index()
        if not len(self._keys):
            return np.zeros(len(keys), dtype=bool), *np.zeros((2, len(keys)), dtype=np.int64)
        places = np.searchsorted(self._keys, keys).clip(max=len(self._keys) - 1)
        found = self._keys[places] == keys
        return found, np.where(found, self._owners[places], 0), np.where(found, self._rows[places], 0)

    def _open(self, name: str) -> tuple[np.ndarray, np.ndarray] | None:
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
            vectors = np.memmap(path, dtype=kind, mode="r", offset=start, shape=shape)
            return np.memmap(path, dtype=key, mode="r", offset=keys, shape=of_keys), vectors
        except FileNotFoundError:
            return None  # pruned meanwhile
        except (ValueError, EOFError) as error:
            self._give_up(name, str(error))
            return None

    def _give_up(self, name: str, why: str) -> None:
        logger.warning("%s: damaged (%s); it is removed, and what it held is encoded again", self.folder / name, why)
        (self.folder / name).unlink(missing_ok=True)


def _header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of the array that follows. Raises ValueError where there is none."""
    np.lib.format.read_magic(file)
    shape, _, kind = np.lib.format.read_array_header_1_0(file)
    return shape, kind
