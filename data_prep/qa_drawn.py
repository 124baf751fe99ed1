"""Which pictures of each dataset are asked about where only so many may be.

CoMa pools the pictures of queries, positives and hard negatives and draws at most 30,000 of a dataset (arXiv 2511.08480, its
code). Here those of the smallest digests are taken: a draw that depends on the pictures alone, so that slices, later runs
and other teachers ask about the same ones, whatever rows show them and in whatever order.
"""

from collections.abc import Iterable
from dataclasses import replace
from heapq import heappush, heappushpop
from pathlib import Path

from data_prep.qa_join import Progress, pair_datasets
from data_prep.qa_kinds import Kind, draw_number
from pipeline.data.shards import ShardIndex
from pipeline.errors import ConfigError


def drawn(kind: Kind, shards: Path, most: int | None, progress: Progress) -> Kind:
    """The kind that asks about at most so many different pictures of each dataset; all rows are read for it. None: about all.

    Raises ConfigError for a kind that is about sides rather than pictures.
    """
    if most is None:
        return kind
    if kind.texts:
        raise ConfigError(f"--most-pictures: kind {kind.name} asks each side its own, so no picture stands for it; leave it out")
    index, limits, done = ShardIndex.open(shards), dict[str, int](), 0
    datasets = pair_datasets(index)
    total = sum(map(len, datasets.values()))
    for name, rows in datasets.items():
        samples = (index.read(row) for row in rows)
        limits[name] = largest_taken(
            (draw_number(side) for sample in samples for side in kind.sides(sample) if side.images), most
        )
        done += len(rows)
        progress(done, total, f"drawing: {name}")
    return replace(kind, limits=limits)


def largest_taken(numbers: Iterable[int], most: int) -> int:
    """The largest of the `most` smallest different numbers, -1 where there is none; no more than these are held."""
    heap, held = list[int](), set[int]()
    for number in numbers:
        if number in held or (len(heap) == most and number > -heap[0]):
            continue
        if len(heap) < most:
            heappush(heap, -number)
        else:
            held.remove(-heappushpop(heap, -number))
        held.add(number)
    return -heap[0] if heap else -1
