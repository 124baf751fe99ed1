"""Everything of a converted corpus read again: every shard streamed with webdataset, against checksums, index and counts.

A finding is one line that names file and key. Memory does not grow with the corpus: one shard's rows of the index are in memory.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import webdataset

from pipeline.data.shard_format import INDEX_NAME, REJECTS_NAME, decode
from pipeline.data.shard_stats import DatasetStats, ShardStats, read_stats
from pipeline.data.shard_tar import tar_digest
from pipeline.errors import DataError
from pipeline.manifest import file_digest

Progress = Callable[[str, int, int], None]
_MOST_FINDINGS = 5
"""Of one shard: a shifted shard would fill the screen."""

_COLUMNS = ["key", "row", "shard", "images.list.element.sha256"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetReport:
    """What was read of a dataset, and what is wrong with it."""

    dataset: str
    shards: int = 0
    samples: int = 0
    pictures: int = 0
    rejected: int = 0
    findings: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """One line for a reader."""
        verdict = f"{len(self.findings)} findings" if self.findings else "sound"
        return (
            f"{self.dataset}: {verdict}, {self.samples} samples with {self.pictures} pictures in {self.shards} shards, "
            f"{self.rejected} rejected"
        )


def verify_shards(folder: Path, progress: Progress) -> Iterator[DatasetReport]:
    """A report for each dataset of a folder of shards. Raises DataError when there is none; all else is a finding."""
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".") if folder.is_dir() else []
    if not folders:
        raise DataError(f"{folder}: holds no converted dataset; run crem convert first")
    for path in folders:
        try:
            stats = read_stats(path)
        except DataError as error:
            yield DatasetReport(dataset=path.name, findings=(str(error),))
            continue
        yield _dataset(path, stats, progress)


def _dataset(folder: Path, stats: DatasetStats, progress: Progress) -> DatasetReport:
    findings = list(_counts(folder, stats))
    samples = pictures = 0
    try:
        for shard, rows in _with_index(folder, stats):
            found = _Shard(folder, shard, rows)
            findings += found.findings()[:_MOST_FINDINGS]
            samples, pictures = samples + found.samples, pictures + found.pictures
            progress(stats.dataset, samples, stats.converted)
    except (pa.ArrowException, OSError, DataError) as error:
        findings.append(f"{folder / INDEX_NAME}: cannot be read ({str(error).splitlines()[0]})")
    if (samples, pictures) != (stats.converted, stats.pictures):
        expected = f"{stats.converted} and {stats.pictures}"
        findings.append(f"{folder}: has {samples} samples with {pictures} pictures, the statistics say {expected}")
    return DatasetReport(
        dataset=stats.dataset,
        shards=len(stats.shards),
        samples=samples,
        pictures=pictures,
        rejected=stats.rejected,
        findings=tuple(findings),
    )


def _counts(folder: Path, stats: DatasetStats) -> Iterator[str]:
    """What the files beside the shards say of each other."""
    if stats.read != stats.converted + stats.rejected:
        yield f"{folder}: {stats.read} rows were read, but {stats.converted} converted and {stats.rejected} rejected"
    if sum(shard.samples for shard in stats.shards) != stats.converted:
        yield f"{folder}: the samples of its shards do not sum up to the {stats.converted} converted"
    firsts = [*(shard.first_row for shard in stats.shards), stats.read]
    if any(shard.first_row + shard.rows > after for shard, after in zip(stats.shards, firsts[1:], strict=True)):
        yield f"{folder}: its shards cover rows twice, or more than were read"
    known = {shard.name for shard in stats.shards}
    for path in sorted(folder.glob("*.tar")):
        if path.name not in known:
            yield f"{path}: the statistics do not know this shard"
    index, rejects = folder / INDEX_NAME, folder / REJECTS_NAME
    if not index.is_file() or file_digest(index) != stats.index_sha256:
        yield f"{index}: is missing or not the file that was written"
    lines = sum(1 for _ in rejects.open("rb")) if rejects.is_file() else -1
    if lines != stats.rejected:
        yield f"{rejects}: has {max(lines, 0)} lines, the statistics say {stats.rejected}"


def _with_index(folder: Path, stats: DatasetStats) -> Iterator[tuple[ShardStats, list[dict[str, Any]]]]:
    """Each shard with its rows of the index, which stand in a row group of their own."""
    index = pq.ParquetFile(folder / INDEX_NAME)
    if index.num_row_groups != len(stats.shards):
        raise DataError(f"it has {index.num_row_groups} row groups for {len(stats.shards)} shards")
    for number, shard in enumerate(stats.shards):
        yield shard, index.read_row_group(number, columns=_COLUMNS).to_pylist()


class _Shard:
    """One tar against its statistics and its rows of the index."""

    def __init__(self, folder: Path, stats: ShardStats, rows: list[dict[str, Any]]) -> None:
        self._path, self._stats, self._rows = folder / stats.name, stats, rows
        self.samples = self.pictures = 0

    def findings(self) -> list[str]:
        """What is wrong with it, first the file, then its samples."""
        try:
            size, digest = self._path.stat().st_size, tar_digest(self._path)
        except OSError as error:
            return [f"{self._path}: cannot be read ({error.strerror})"]
        found = []
        if (size, digest) != (self._stats.bytes, self._stats.digest):
            found.append(f"{self._path}: is not the file that was written (it had {self._stats.bytes} bytes, now {size})")
        return [*found, *self._of_samples()]

    def _of_samples(self) -> list[str]:
        found = []
        rest = iter(self._rows)
        try:
            for record in webdataset.WebDataset([str(self._path)], shardshuffle=False, handler=webdataset.reraise_exception):
                found += self._of_sample(record, next(rest, None))
        except Exception as error:  # noqa: BLE001 - a damaged tar raises many kinds; all mean the same here
            found.append(f"{self._path}: webdataset cannot read it to its end ({type(error).__name__}: {str(error)[:200]})")
        missing = sum(1 for _ in rest)
        if missing:
            found.append(f"{self._path}: ends {missing} samples before the index")
        return found

    def _of_sample(self, record: Mapping[str, Any], row: dict[str, Any] | None) -> list[str]:
        key = record["__key__"]
        pictures = [content for name, content in record.items() if not name.startswith("__") and name != "json"]
        self.samples, self.pictures = self.samples + 1, self.pictures + len(pictures)
        if row is None or row["key"] != key:
            return [f"{self._path}: has sample {key} where the index has {row and row['key']}"]
        if [hashlib.sha256(content).digest() for content in pictures] != [image["sha256"] for image in row["images"]]:
            return [f"{self._path}: pictures of sample {key} are not those of the index"]
        try:
            sample = decode(record["json"], pictures)
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            return [f"{self._path}: the texts of sample {key} cannot be read ({type(error).__name__})"]
        if sample.key != key or sum(len(side.images) for side in sample.sides) != len(pictures):
            return [f"{self._path}: the texts of sample {key} belong to another, or to another number of pictures"]
        return []
