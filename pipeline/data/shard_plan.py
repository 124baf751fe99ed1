"""How a dataset is cut into shards: fixed ranges of source rows, so that any shard can be made alone, anywhere, at any time."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.data.keys import slug
from pipeline.manifest import fingerprint

FORMAT = 3
"""Rises when shards or index change in a way that older readers cannot follow."""

ROWS_PER_SHARD = 1000

MAX_PIXELS = 1280 * 28 * 28
"""Qwen2-VL's limit of 1,280 visual tokens a picture: a larger picture would be shrunk at every reading."""

PARTS_FOLDER = "parts"

Kind = Literal["pairs", "conversations"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardPlan:
    """A dataset's rows and how they are prepared: all that decides the bytes of its shards.

    `rows` are the source rows in all; `max_pixels` is the limit beyond which pictures are shrunk (None: they stand as they came),
    `verify` whether each was decoded; `source` a fingerprint of the files that are read.
    """

    dataset: str
    kind: Kind
    rows: int
    rows_per_shard: int = ROWS_PER_SHARD
    max_pixels: int | None = None
    verify: bool = True
    source: str = ""

    @property
    def name(self) -> str:
        """The folder's name and the beginning of every file's and key's."""
        return slug(self.dataset)

    @property
    def fingerprint(self) -> str:
        """Stands in every finished part: one made from other files or by other settings is made again."""
        return fingerprint([FORMAT, self])

    @property
    def num_shards(self) -> int:
        """Ranges of rows, the last of which may be shorter."""
        return -(-self.rows // self.rows_per_shard)

    def rows_of(self, number: int) -> range:
        """Source rows of a shard."""
        first = number * self.rows_per_shard
        return range(first, min(first + self.rows_per_shard, self.rows))

    def tar_name(self, number: int) -> str:
        """File name of a shard."""
        return f"{self.name}-{number:05d}.tar"

    def part_path(self, out: Path, number: int) -> Path:
        """The file beside a shard that says what is in it; its presence means that the shard is whole."""
        return out / self.name / PARTS_FOLDER / f"{number:05d}.parquet"
