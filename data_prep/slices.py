"""A share of a large work that one command does while others do theirs."""

from dataclasses import dataclass

from pipeline.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Share `index` (from 0) of `of`: of a conversion every `of`-th shard, beginning with that, counted through all datasets."""

    index: int
    of: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.of:
            raise ConfigError(f"--shard-index {self.index}: is not from 0 to {self.of - 1}, the last of --num-shards {self.of}")
