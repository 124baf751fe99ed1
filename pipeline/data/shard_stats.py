"""What is known of a converted dataset as a whole: its file is written last, so it marks a conversion that is complete."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.data.keys import slug
from pipeline.data.shard_format import STATS_NAME
from pipeline.data.shard_plan import FORMAT, Kind
from pipeline.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardStats:
    """One tar: its name, the source rows it covers (from `first_row`, `rows` of them), its samples, bytes and `tar_digest`."""

    name: str
    number: int
    first_row: int
    rows: int
    samples: int
    bytes: int
    digest: str


@dataclass(slots=True, kw_only=True)
class DatasetStats:
    """What was written for a dataset: `read == converted + rejected`.

    `max_pixels` is the limit that larger pictures were shrunk to (None: they stand as they came) and `verify` whether each was
    decoded. `duplicate_pictures` are those whose bytes stand in the dataset before; `mended` counts by name what was changed.
    """

    dataset: str
    kind: Kind
    rows_per_shard: int
    max_pixels: int | None = None
    verify: bool = True
    read: int = 0
    converted: int = 0
    rejected: int = 0
    pictures: int = 0
    picture_bytes: int = 0
    duplicate_pictures: int = 0
    mended: dict[str, int] = field(default_factory=dict)
    index_sha256: str = ""
    shards: list[ShardStats] = field(default_factory=list)
    format: int = FORMAT


def read_stats(folder: Path) -> DatasetStats:
    """The statistics of a dataset's folder. Raises DataError when they are missing, damaged or another folder's."""
    path = folder / STATS_NAME
    try:
        fields = json.loads(path.read_bytes())
        if isinstance(fields, dict) and fields.get("format") != FORMAT:
            raise _foreign(path)
        stats = DatasetStats(**fields | {"shards": [ShardStats(**shard) for shard in fields["shards"]]})
    except FileNotFoundError as error:
        raise DataError(f"{folder}: its conversion did not finish ({STATS_NAME} is missing); run the conversion again") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: is damaged; convert the dataset again") from error
    if slug(stats.dataset) != folder.name:
        raise _foreign(path)
    return stats


def _foreign(path: Path) -> DataError:
    return DataError(f"{path}: was written by another version or for another folder; convert the dataset again")
