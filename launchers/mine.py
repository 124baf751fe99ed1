"""`crem mine`: hard negatives of a phase."""

from pathlib import Path
from typing import Any

import click

from launchers import options
from launchers.stages import one_stage


@click.command()
@options.shared
@options.phase
@click.option("--start", type=click.Path(path_type=Path), help="The checkpoint or export that the first phase begins from.")
@click.option("--processes", type=click.IntRange(1), default=1, help="Processes that embed and search together: one a GPU.")
def mine(processes: int, **given: Any) -> None:
    """Find hard negatives of a phase, by the model of the phase before it.

    Of each query all candidates of its dataset are ranked, without its own positives and what equals one of them; a phase with
    negatives=Mined draws some of a window of ranks (docs/train.md). crem run does it in front of the phase. With --processes,
    here as in crem run, embedding and search are shared; the files are those of one process.

    \b
    Examples:
      crem mine --recipe tiny --set phases.0.negatives=Mined
      crem mine --recipe coma_3b --phase match --set phases.1.negatives=Mined --work runs/coma_3b --processes 8
    """
    shared = options.take_shared(given)
    one_stage("mine", shared, given, processes)
