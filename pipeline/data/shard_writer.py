"""Writer of shards: ordinary WebDataset tars with an index beside them. The same samples give the same bytes.

A shard is a fixed range of source rows. A row that is rejected leaves a hole and moves nothing, so any shard can be made again
alone.
"""

from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from pipeline.data.atomic_write import atomic_file
from pipeline.data.keys import source_row
from pipeline.data.reject import Reject, RowError
from pipeline.data.shard_format import STATS_NAME, Member, members, text_bytes
from pipeline.data.shard_part import ShardPart, write_part
from pipeline.data.shard_plan import ShardPlan
from pipeline.data.shard_rows import IndexRows
from pipeline.data.shard_stats import ShardStats
from pipeline.data.shard_tar import ShardTar
from pipeline.errors import DataError
from pipeline.sample import Sample

Item = Sample | Reject

WRITE_BUFFER = 2**20
"""Bytes that are gathered before they go to the file: a call of the system for each picture would cost more than the copy."""


def write_shard(items: Iterable[Item], out: Path, plan: ShardPlan, number: int, mended: Mapping[str, int] | None = None) -> None:
    """Write one shard of a dataset into `<out>/<name>`: its tar, then the part that says what is in it.

    `items` stand for the shard's source rows in order, one each; `mended` is read when they are used up. What the place held
    before is replaced; `shard_merge.merge` makes the dataset whole. Raises DataError when there are fewer items than rows.
    """
    folder, name, part = out / plan.name, plan.tar_name(number), plan.part_path(out, number)
    folder.mkdir(parents=True, exist_ok=True)
    with (
        atomic_file(folder / name) as aside,
        aside.open("wb", WRITE_BUFFER) as file,
        closing(_Shard(file, plan, number)) as shard,
    ):
        shard.take_all(items)
        for path in (folder / STATS_NAME, part):  # they speak of what is replaced now
            path.unlink(missing_ok=True)
    if not shard.index:
        (folder / name).unlink()
    write_part(part, shard.part(mended or {}), shard.index.table())


class _Shard:
    """A tar being written, with its rows of the index and its rejects."""

    def __init__(self, file: BinaryIO, plan: ShardPlan, number: int) -> None:
        self._plan, self._number = plan, number
        self._tar = ShardTar(file)
        self.index = IndexRows()
        self._rejects: list[Reject] = []
        self._pictures = self._picture_bytes = 0

    def take_all(self, items: Iterable[Item]) -> None:
        """Take the shard's rows."""
        rest = iter(items)
        for row in self._plan.rows_of(self._number):
            item = next(rest, None)
            if item is None:
                raise _too_few(self._plan)
            assert isinstance(item, Reject) or source_row(item.key) == row, "items come one for each source row, in order"
            self._take(item)

    def close(self) -> None:
        """End the archive."""
        self._tar.close()

    def part(self, mended: Mapping[str, int]) -> ShardPart:
        """What is known of the shard."""
        rows = self._plan.rows_of(self._number)
        shard = ShardStats(
            name=self._plan.tar_name(self._number),
            number=self._number,
            first_row=rows.start,
            rows=len(rows),
            samples=len(self.index),
            bytes=self._tar.size,
            digest=self._tar.hexdigest,
        )
        return ShardPart(
            plan=self._plan.fingerprint,
            read=len(rows),
            pictures=self._pictures,
            picture_bytes=self._picture_bytes,
            mended=dict(mended),
            rejects=tuple(self._rejects),
            shard=shard if self.index else None,
        )

    def _take(self, item: Item) -> None:
        if isinstance(item, Reject):
            self._rejects.append(item)
            return
        try:
            files = members(item)
        except RowError as error:
            self._rejects.append(Reject(source=item.dataset, row=source_row(item.key), key=item.key, reason=str(error)))
            return
        self._add(item, files)
        self._pictures += len(files) - 1
        self._picture_bytes += sum(len(file.content) for file in files[1:])

    def _add(self, sample: Sample, files: list[Member]) -> None:
        """Append the files of a sample."""
        places = [self._tar.add(sample.key, file.suffix, file.content) for file in files]
        (json_offset, _), *pictures = places
        self.index.add(
            (sample.key, source_row(sample.key), self._number, json_offset, len(files[0].content), text_bytes(sample)),
            [
                (offset, len(file.content), file.width, file.height, digest)
                for (offset, digest), file in zip(pictures, files[1:], strict=True)
            ],
        )


def _too_few(plan: ShardPlan) -> DataError:
    return DataError(f"{plan.dataset}: has fewer than the {plan.rows} rows that were counted; did its files change meanwhile?")
