"""`crem measure`: the lengths of all rows in tokens, whole or in slices."""

from typing import Any

import click

from launchers import options
from launchers.progress import Progress
from launchers.stages import one_stage


@click.command()
@options.shared
@options.one_slice
def measure(shard_index: int | None, num_shards: int | None, **shared: Any) -> None:
    """Count the tokens of every row, as training reads it, before GPUs wait for it.

    It runs on every core that the command may use; stopped at any moment, it goes on with what is missing. With --shard-index
    only a slice is counted, next to others on any machine that shares the folders; the command without it makes the table.

    \b
    Examples:
      crem measure --recipe tiny --work work
      crem measure --recipe crem_2b --work runs/crem_2b --shard-index 3 --num-shards 16
    """
    if (shard_index is None) != (num_shards is None):
        raise click.UsageError("--shard-index and --num-shards belong together; give both, or none")
    if shard_index is None or num_shards is None:
        one_stage("measure", shared)
        return
    from jobs.measure import MeasureStage

    context = options.make_context(**shared)
    try:
        counted = MeasureStage(context=context).run_slice(shard_index, num_shards)
    finally:
        if isinstance(context.progress, Progress):
            context.progress.close()
    click.echo(f"measure: slice {shard_index} of {num_shards} is done ({counted} rows counted); when all are, run crem measure")
