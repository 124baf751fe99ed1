"""Writer of shards: ordinary WebDataset tars with an index beside them. The same samples give the same bytes.

A shard is a fixed range of source rows. A row that is rejected leaves a hole and moves nothing, so any shard can be made again
alone.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import pyarrow as pa
import pyarrow.parquet as pq
from webdataset.writer import TarWriter

from pipeline.data.aside import file_aside
from pipeline.data.keys import slug, source_row
from pipeline.data.reject import Reject, RowError
from pipeline.data.shard_format import INDEX_NAME, INDEX_SCHEMA, REJECTS_NAME, STATS_NAME, Member, members, text_bytes
from pipeline.data.shard_stats import DatasetStats, Kind, ShardStats
from pipeline.errors import DataError
from pipeline.manifest import write_atomic
from pipeline.sample import Sample

Item = Sample | Reject

TAR_BLOCK = 512


def write_shards(items: Iterable[Item], out: Path, *, dataset: str, kind: Kind, rows_per_shard: int = 1000) -> DatasetStats:
    """Write a dataset's folder `<out>/<slug>`: tars, index.parquet, rejects.jsonl and, last, stats.json.

    `items` stand for the source rows in order, one each: item i is source row i. What the folder held before is replaced.
    Raises DataError when no row is left.
    """
    folder = out / slug(dataset)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    stats = DatasetStats(dataset=dataset, kind=kind, rows_per_shard=rows_per_shard)
    try:
        with (
            file_aside(folder / INDEX_NAME) as index,
            file_aside(folder / REJECTS_NAME) as rejects,
            pq.ParquetWriter(index, INDEX_SCHEMA) as table,
            rejects.open("w", encoding="utf-8") as log,
        ):
            for part in _ranges(items, rows_per_shard):
                _write_range(part, folder, stats, table=table, log=log)
        _refuse_nothing(stats, folder)
        write_atomic(folder / STATS_NAME, json.dumps(asdict(stats), indent=1) + "\n")
    except BaseException:
        shutil.rmtree(folder)
        raise
    return stats


def _write_range(items: Iterator[Item], folder: Path, stats: DatasetStats, *, table: pq.ParquetWriter, log: TextIO) -> None:
    """Write the next shard, its rows of the index and its rejects. A range without a sample has no tar."""
    number = stats.read // stats.rows_per_shard
    name = f"{folder.name}-{number:05d}.tar"
    first, before = stats.read, stats.converted
    with file_aside(folder / name) as path, path.open("wb") as file, closing(_Shard(file, number)) as shard:
        for item in items:
            _take(item, shard, stats, log)
    if stats.converted == before:
        (folder / name).unlink()
        return
    table.write_table(pa.Table.from_pylist(shard.index, schema=INDEX_SCHEMA))
    stats.shards.append(
        ShardStats(
            name=name,
            number=number,
            first_row=first,
            rows=stats.read - first,
            samples=stats.converted - before,
            bytes=shard.size,
            sha256=shard.sha256,
        )
    )


def _take(item: Item, shard: "_Shard", stats: DatasetStats, log: TextIO) -> None:
    stats.read += 1
    if isinstance(item, Sample):
        try:
            files = members(item)
        except RowError as error:
            item = Reject(source=item.dataset, row=source_row(item.key), key=item.key, reason=str(error))
        else:
            assert source_row(item.key) == stats.read - 1, "items come one for each source row, in order"
            shard.add(item, files)
            stats.converted += 1
            stats.pictures += len(files) - 1
            stats.picture_bytes += sum(len(file.content) for file in files[1:])
            return
    stats.rejected += 1
    log.write(json.dumps(asdict(item), ensure_ascii=True) + "\n")


class _Shard:
    """A tar being written, with its digest and its rows of the index."""

    def __init__(self, file: BinaryIO, number: int) -> None:
        self._sink, self.number = _Hashing(file), number
        # Owner and time are fixed, or the bytes would depend on who writes and when.
        self._tar = TarWriter(self._sink, user="", group="", mtime=0, encoder=False)
        self.index: list[dict[str, Any]] = []

    def add(self, sample: Sample, files: list[Member]) -> None:
        """Append the files of a sample."""
        places = [self._append(sample.key, file) for file in files]
        images = [
            {
                "offset": place,
                "size": len(file.content),
                "width": file.width,
                "height": file.height,
                "sha256": hashlib.sha256(file.content).digest(),
            }
            for place, file in zip(places[1:], files[1:], strict=True)
        ]
        self.index.append(
            {
                "key": sample.key,
                "row": source_row(sample.key),
                "shard": self.number,
                "json_offset": places[0],
                "json_size": len(files[0].content),
                "text_bytes": text_bytes(sample),
                "images": images,
            }
        )

    def close(self) -> None:
        """End the archive."""
        self._tar.close()

    @property
    def size(self) -> int:
        """Bytes written."""
        return self._sink.size

    @property
    def sha256(self) -> str:
        """Digest of the bytes written."""
        return self._sink.digest.hexdigest()

    def _append(self, key: str, file: Member) -> int:
        """Append one file; where its content begins."""
        self._tar.write({"__key__": key, file.suffix: file.content})
        return int(self._tar.tarstream.offset) - -(-len(file.content) // TAR_BLOCK) * TAR_BLOCK


class _Hashing:
    """A file that is hashed as it is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.digest, self.size = file, hashlib.sha256(), 0

    def write(self, content: bytes) -> int:
        """Write and hash."""
        self.digest.update(content)
        self.size += len(content)
        return self._file.write(content)


def _ranges(items: Iterable[Item], length: int) -> Iterator[Iterator[Item]]:
    """Runs of `length` items, each to be used up before the next is asked for."""
    rest = iter(items)
    for first in rest:
        yield chain([first], islice(rest, length - 1))


def _refuse_nothing(stats: DatasetStats, folder: Path) -> None:
    if not stats.read:
        raise DataError(f"{stats.dataset}: has no rows; remove its folder or download it again")
    if not stats.converted:
        with (folder / REJECTS_NAME).open(encoding="utf-8") as log:
            first = json.loads(log.readline())
        where = f"{first['source']}, row {first['row']}"
        raise DataError(f"{stats.dataset}: all {stats.read} rows were rejected; the first ({where}): {first['reason']}")
