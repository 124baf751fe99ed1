"""The index, the rejects and the statistics of a dataset from the parts of its shards: the same bytes, whoever made them.

Only small files are read: the shards themselves are not touched.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.atomic_write import SUFFIX, atomic_file
from pipeline.data.reject import Reject
from pipeline.data.shard_format import INDEX_NAME, INDEX_SCHEMA, REJECTS_NAME, STATS_NAME
from pipeline.data.shard_part import ShardPart, is_whole, read_index, read_part
from pipeline.data.shard_plan import PARTS_FOLDER, ShardPlan
from pipeline.data.shard_stats import DatasetStats, read_stats
from pipeline.errors import DataError
from pipeline.manifest import file_digest, write_atomic

_HASH_BYTES = 32


def missing(out: Path, plan: ShardPlan) -> list[int]:
    """Numbers of the shards that are not there, or were made from other files or by other settings."""
    folder, wanted = out / plan.name, plan.fingerprint
    return [number for number in range(plan.num_shards) if not is_whole(plan.part_path(out, number), wanted, folder)]


def merge(out: Path, plan: ShardPlan) -> DatasetStats:
    """Write index.parquet, rejects.jsonl and, last, stats.json of a dataset all of whose parts are there; return the statistics.

    Files of shards that the plan does not have are removed. Nothing is written where the three files are there already. Raises
    DataError when no row is left.
    """
    folder = out / plan.name
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder, plan)
    if all((folder / name).is_file() for name in (INDEX_NAME, REJECTS_NAME, STATS_NAME)):
        return read_stats(folder)
    stats = DatasetStats(
        dataset=plan.dataset, kind=plan.kind, rows_per_shard=plan.rows_per_shard, max_pixels=plan.max_pixels, verify=plan.verify
    )
    hashes: list[npt.NDArray[np.bytes_]] = []
    first: Reject | None = None
    with (
        atomic_file(folder / INDEX_NAME) as index,
        atomic_file(folder / REJECTS_NAME) as rejects,
        pq.ParquetWriter(index, INDEX_SCHEMA) as table,
        rejects.open("w", encoding="utf-8") as log,
    ):
        for number in range(plan.num_shards):
            path = plan.part_path(out, number)
            part, rows = read_part(path), read_index(path)
            _add(stats, part)
            log.writelines(json.dumps(asdict(reject), ensure_ascii=True) + "\n" for reject in part.rejects)
            first = first or next(iter(part.rejects), None)
            if len(rows):
                table.write_table(rows)
                hashes.append(picture_hashes(rows))
    _refuse_nothing(stats, first, folder)
    stats.duplicate_pictures = stats.pictures - _distinct(hashes)
    stats.index_sha256 = file_digest(folder / INDEX_NAME)
    write_atomic(folder / STATS_NAME, json.dumps(asdict(stats), indent=1) + "\n")
    return stats


def picture_hashes(rows: pa.Table) -> npt.NDArray[np.bytes_]:
    """The SHA-256 of every picture of some rows of an index, 32 bytes each, in order."""
    found = rows.column("images").combine_chunks().flatten().field("sha256")
    return np.frombuffer(b"".join(found.to_pylist()), dtype=f"S{_HASH_BYTES}")


def _distinct(hashes: Sequence[npt.NDArray[np.bytes_]]) -> int:
    return len(np.unique(np.concatenate(hashes))) if hashes else 0


def _add(stats: DatasetStats, part: ShardPart) -> None:
    stats.read += part.read
    stats.rejected += len(part.rejects)
    stats.converted += part.read - len(part.rejects)
    stats.pictures += part.pictures
    stats.picture_bytes += part.picture_bytes
    for name, count in sorted(part.mended.items()):
        stats.mended[name] = stats.mended.get(name, 0) + count
    if part.shard:
        stats.shards.append(part.shard)


def _sweep(folder: Path, plan: ShardPlan) -> None:
    """Remove what killed runs and earlier plans left; statistics that counted it go first."""
    parts = folder / PARTS_FOLDER
    known = {folder / plan.tar_name(number) for number in range(plan.num_shards)}
    known |= {plan.part_path(folder.parent, number) for number in range(plan.num_shards)}
    foreign = [path for path in (*folder.glob("*.tar"), *parts.glob("*.parquet")) if path not in known]
    if foreign:
        (folder / STATS_NAME).unlink(missing_ok=True)
    for pattern in (f".*.{SUFFIX}", ".*.aside"):
        foreign += [*folder.glob(pattern), *parts.glob(pattern)]
    for path in foreign:
        path.unlink(missing_ok=True)


def _refuse_nothing(stats: DatasetStats, first: Reject | None, folder: Path) -> None:
    """A dataset without a row is a mistake of its download; its folder goes, so that it is read anew once that is mended."""
    if stats.converted:
        return
    shutil.rmtree(folder, ignore_errors=True)
    if first is None:
        raise DataError(f"{stats.dataset}: has no rows; remove its folder or download it again")
    where = f"{first.source}, row {first.row}"
    raise DataError(f"{stats.dataset}: all {stats.read} rows were rejected; the first ({where}): {first.reason}")
