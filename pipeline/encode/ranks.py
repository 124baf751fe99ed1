"""The processes that encode together. They share nothing but the cache's folder, and tell one another what they wrote there."""

import os
from dataclasses import dataclass
from typing import TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """This process's number among so many."""

    rank: int = 0
    count: int = 1

    @classmethod
    def join(cls) -> "Ranks":
        """Meet those that torchrun, Slurm or `--processes` started. Raises PipelineError when they do not come."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        from pipeline.train.distributed import start_process_group

        rank, count = start_process_group()
        return cls(rank=rank, count=count)

    @property
    def is_first(self) -> bool:
        """Whether this is the one that scores, writes and speaks."""
        return self.rank == 0

    def gather(self, value: Value) -> list[Value]:
        """The values of all ranks, by rank. Every rank must call it."""
        if self.count == 1:
            return [value]
        from pipeline.train.collectives import of_all_ranks

        return of_all_ranks([value])

    def leave(self) -> None:
        """Leave the others, once all have finished. Every rank must call it."""
        if self.count > 1:
            import torch.distributed as dist

            self.gather(None)
            dist.destroy_process_group()


LONE = Ranks()
