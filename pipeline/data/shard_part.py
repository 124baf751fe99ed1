"""What is known of one shard: its rows of the index, its statistics and its rejects, in one small file that is written after it.

The files of all shards are merged into the dataset's index; they stay, so that a lost shard can be made again alone.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.atomic_write import atomic_file
from pipeline.data.reject import Reject
from pipeline.data.shard_stats import ShardStats
from pipeline.errors import DataError

_KEY = b"crem.shard"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardPart:
    """`plan` is the fingerprint of the ShardPlan; `shard` is None where every row of the range was rejected.

    `mended` counts by name what was changed on the way; `picture_bytes` are those of all pictures as they stand in the shard.
    """

    plan: str
    read: int
    pictures: int = 0
    picture_bytes: int = 0
    mended: Mapping[str, int] = field(default_factory=dict)
    rejects: tuple[Reject, ...] = ()
    shard: ShardStats | None = None


def write_part(path: Path, part: ShardPart, index: pa.Table) -> None:
    """Write the file of a part, whole or not at all; `index` has its rows of the dataset's index."""
    note = json.dumps(asdict(part), ensure_ascii=True, separators=(",", ":"))
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as aside:
        pq.write_table(index.replace_schema_metadata({_KEY: note}), aside)


def read_part(path: Path) -> ShardPart:
    """What a part says of its shard. Raises DataError when the file is damaged or foreign."""
    try:
        return _part(json.loads(pq.read_metadata(path).metadata[_KEY]))
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: is damaged; remove it and convert again: only its shard is made anew") from error


def read_index(path: Path) -> pa.Table:
    """A part's rows of the index. Raises DataError when the file is damaged."""
    try:
        return pq.ParquetFile(path).read().replace_schema_metadata(None)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: is damaged; remove it and convert again: only its shard is made anew") from error


def is_whole(path: Path, plan: str, folder: Path) -> bool:
    """Whether a part was made by this plan and its shard still has the size that it says."""
    try:
        part = read_part(path)
        return part.plan == plan and (part.shard is None or (folder / part.shard.name).stat().st_size == part.shard.bytes)
    except (DataError, FileNotFoundError):
        return False


def _part(fields: dict[str, Any]) -> ShardPart:
    shard = fields["shard"]
    changed = {"rejects": tuple(Reject(**reject) for reject in fields["rejects"]), "shard": shard and ShardStats(**shard)}
    return ShardPart(**fields | changed)
