"""Datasets of a few rows as shards, for tests that read them."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from pipeline.data.shard_merge import merge
from pipeline.data.shard_plan import ROWS_PER_SHARD, Kind, ShardPlan
from pipeline.data.shard_stats import DatasetStats
from pipeline.data.shard_writer import Item, write_shard


def write_shards(
    items: Iterable[Item], out: Path, *, dataset: str, kind: Kind, rows_per_shard: int = ROWS_PER_SHARD
) -> DatasetStats:
    """Write a small dataset that stands in memory: all its shards and what belongs beside them, in place of what was there.

    `items` stand for the source rows in order, one each: item i is source row i. Raises DataError when no row is left.
    """
    rows = list(items)
    plan = ShardPlan(dataset=dataset, kind=kind, rows=len(rows), rows_per_shard=rows_per_shard)
    shutil.rmtree(out / plan.name, ignore_errors=True)
    for number in range(plan.num_shards):
        write_shard((rows[row] for row in plan.rows_of(number)), out, plan, number)
    return merge(out, plan)
