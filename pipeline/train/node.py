"""What the ranks on one machine share: its cores and its memory."""

import os
import socket
from dataclasses import dataclass

from pipeline.train.collectives import of_all_ranks

MOST_LOADERS = 8
"""Loader processes of a rank, at most: by forecast one keeps up with an H100."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """The machine of this rank: the ranks on it, the cores that these may use, all together, and bytes of memory.

    `hosts` are the machines of all ranks, by rank.
    """

    name: str
    num_ranks: int
    cores: int
    host_bytes: int
    hosts: tuple[str, ...]

    @staticmethod
    def of_this_rank() -> "Node":
        """Looked at by all ranks together, each of which may be bound to cores of its own: every rank must call it."""
        name = socket.gethostname()
        places = of_all_ranks([(name, os.sched_getaffinity(0))])
        bound = [cores for where, cores in places if where == name]
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        hosts = tuple(where for where, _ in places)
        return Node(name=name, num_ranks=len(bound), cores=len(set.union(*bound)), host_bytes=memory, hosts=hosts)

    @property
    def loaders(self) -> int:
        """Loader processes that suit a rank: one a core of its share, but the one that it works with itself."""
        return max(1, min(MOST_LOADERS, self.cores // self.num_ranks - 1))
