"""Random access to a converted corpus: any row of any dataset by number, through the index beside the shards.

Light by design: a few integers for each row and picture, in arrays that forked workers share; shards are read with `os.pread`,
which keeps no position, so file descriptors survive a fork.
"""

import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.keys import key_of
from pipeline.data.shard_format import INDEX_NAME, decode
from pipeline.data.shard_plan import Kind
from pipeline.data.shard_stats import read_stats
from pipeline.errors import DataError
from pipeline.manifest import fingerprint
from pipeline.sample import Sample

MAX_OPEN_SHARDS = 256

_ROW_FIELDS = ["row", "shard", "json_offset", "json_size", "text_bytes"]
_IMAGE_FIELDS = ["offset", "size", "width", "height"]

IntArray = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowInfo:
    """What the index knows of a row without reading it: bytes of its texts, and (width, height) of its pictures in pixels."""

    key: str
    dataset: str
    text_bytes: int
    image_sizes: tuple[tuple[int, int], ...]


class _Part:
    """The index of one dataset as arrays; `images` of row i are those from starts[i] to starts[i + 1]."""

    def __init__(self, folder: Path) -> None:
        stats = read_stats(folder)
        self.dataset, self.kind, self._slug = stats.dataset, stats.kind, folder.name
        self.shards = {shard.number: (folder / shard.name, shard.bytes) for shard in stats.shards}
        self.max_pixels = stats.max_pixels
        self.digest = [self.dataset, self.kind, *(shard.digest for shard in stats.shards)]
        table = _table(folder / INDEX_NAME)
        self.columns: dict[str, IntArray] = {name: table.column(name).to_numpy() for name in _ROW_FIELDS}
        lists = table.column("images").combine_chunks()
        self.starts: IntArray = lists.offsets.to_numpy()
        fields = lists.values
        self.images: dict[str, IntArray] = {name: fields.field(name).to_numpy() for name in _IMAGE_FIELDS}
        if len(table) != stats.converted:
            raise DataError(f"{folder}: index has {len(table)} rows, statistics say {stats.converted}; convert it again")

    def __len__(self) -> int:
        return len(self.columns["row"])

    def key(self, place: int) -> str:
        """Key of a row of this part."""
        return key_of(self._slug, int(self.columns["row"][place]))

    def shard(self, place: int) -> tuple[Path, int]:
        """Path and size in bytes of the shard that holds a row."""
        return self.shards[int(self.columns["shard"][place])]

    def image_spans(self, place: int, *names: str) -> list[tuple[int, ...]]:
        """The named fields of a row's pictures."""
        span = slice(self.starts[place], self.starts[place + 1])
        return list(zip(*(self.images[name][span].tolist() for name in names), strict=True))


class ShardIndex:
    """A converted corpus. Rows are numbered through all datasets in the order of their names; holes have no number."""

    def __init__(self, parts: list[_Part]) -> None:
        """Use `open`."""
        self._parts = sorted(parts, key=lambda part: part.dataset)
        self._firsts = [0]
        for part in self._parts:
            self._firsts.append(self._firsts[-1] + len(part))
        self.datasets: dict[str, range] = {
            part.dataset: range(first, first + len(part)) for part, first in zip(self._parts, self._firsts, strict=False)
        }
        self._kinds = {part.dataset: part.kind for part in self._parts}
        self._files: OrderedDict[Path, int] = OrderedDict()
        limits = [part.max_pixels for part in self._parts if part.max_pixels is not None]
        self.max_pixels = min(limits, default=None)
        """The limit in pixels that larger pictures were shrunk to; None where all stand as they came."""
        self.fingerprint = fingerprint([part.digest for part in self._parts])
        """Depends on every byte of every shard, and on nothing else."""

    @classmethod
    def open(cls, folder: Path) -> "ShardIndex":
        """The corpus in a folder of shards. Raises DataError when there is none or a dataset is unfinished."""
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder of shards; run the conversion first")
        folders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        if not folders:
            raise DataError(f"{folder}: holds no converted dataset; run the conversion first")
        return cls([_Part(path) for path in folders])

    def __len__(self) -> int:
        return self._firsts[-1]

    def kind(self, dataset: str) -> Kind:
        """What the rows of a dataset are."""
        return self._kinds[dataset]

    def source_rows(self, dataset: str) -> IntArray:
        """The numbers (N,) that a dataset's rows have in its source, rising; holes are rows that the conversion rejected."""
        return next(part.columns["row"] for part in self._parts if part.dataset == dataset)

    def info(self, row: int) -> RowInfo:
        """What the index knows of a row."""
        part, place = self._find(row)
        return RowInfo(
            key=part.key(place),
            dataset=part.dataset,
            text_bytes=int(part.columns["text_bytes"][place]),
            image_sizes=tuple((width, height) for width, height in part.image_spans(place, "width", "height")),
        )

    def shard(self, row: int) -> Path:
        """The file that holds a row."""
        part, place = self._find(row)
        return part.shard(place)[0]

    def read(self, row: int) -> Sample:
        """A sample with its pictures' encoded bytes. Raises DataError, naming shard and key, where shard and index differ."""
        part, place = self._find(row)
        start, size = int(part.columns["json_offset"][place]), int(part.columns["json_size"][place])
        spans = part.image_spans(place, "offset", "size")
        end = max([start + size, *(offset + length for offset, length in spans)])
        # The members of a sample lie next to each other: one read takes them all.
        content = self._content(part, place, end - start)
        pictures = [content[offset - start : offset - start + length] for offset, length in spans]
        return _sample(part, place, content[:size], pictures)

    def texts(self, row: int) -> Sample:
        """A sample whose pictures are empty: only its JSON is read, a hundredth of the bytes. Raises DataError as `read`."""
        part, place = self._find(row)
        content = self._content(part, place, int(part.columns["json_size"][place]))
        return _sample(part, place, content, [b""] * len(part.image_spans(place, "size")))

    def close(self) -> None:
        """Close the shards; a later read opens them again."""
        while self._files:
            os.close(self._files.popitem()[1])

    def _find(self, row: int) -> tuple[_Part, int]:
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        number = bisect_right(self._firsts, row) - 1
        return self._parts[number], row - self._firsts[number]

    def _content(self, part: _Part, place: int, size: int) -> bytes:
        """The first bytes of a row. Raises DataError where the shard has fewer."""
        shard = part.shard(place)
        content = os.pread(self._descriptor(*shard), size, int(part.columns["json_offset"][place]))
        if len(content) != size:
            raise _differs(shard[0], part.key(place))
        return content

    def _descriptor(self, path: Path, size: int) -> int:
        """An open shard; the least recently used one is closed when there are many."""
        if path in self._files:
            self._files.move_to_end(path)
            return self._files[path]
        if len(self._files) >= MAX_OPEN_SHARDS:
            os.close(self._files.popitem(last=False)[1])
        descriptor = _open_shard(path, size)
        self._files[path] = descriptor
        return descriptor


def _sample(part: _Part, place: int, document: bytes, pictures: Sequence[bytes]) -> Sample:
    """A row from its JSON and its pictures. Raises DataError, naming shard and key, where they are another's."""
    path, key = part.shard(place)[0], part.key(place)
    try:
        sample = decode(document, pictures)
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise _differs(path, key) from error
    if sample.key != key:
        raise _differs(path, key)
    return sample


def _open_shard(path: Path, size: int) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror}); convert the dataset again") from error
    actual = os.fstat(descriptor).st_size
    if actual != size:
        os.close(descriptor)
        raise DataError(f"{path}: has {actual} bytes, its statistics say {size}; convert the dataset again")
    return descriptor


def _table(path: Path) -> pa.Table:
    wanted = [*_ROW_FIELDS, *(f"images.list.element.{name}" for name in _IMAGE_FIELDS)]
    try:
        return pq.ParquetFile(path, memory_map=True).read(columns=wanted)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: is damaged or missing; convert the dataset again") from error


def _differs(path: Path, key: str) -> DataError:
    return DataError(f"{path}: sample {key} is not where the index says; convert the dataset again")
