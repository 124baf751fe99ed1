"""`crem data show`: what a training step reads, as a page of pictures and texts."""

from pathlib import Path
from typing import Any

import click

from launchers import options


@click.command()
@options.shared
@click.option("--step", type=click.IntRange(1), default=1, help="Number of the step, as in the log; 1 is the first.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="The page. Default: a file in <work>/steps.")
def show(step: int, out: Path | None, **shared: Any) -> None:
    """Draw what a training step reads: every sequence of its global batch, on one HTML page.

    The rows pass through the code that training reads with: cut texts, resized pictures and drawn coins are those of the run.
    A corpus must have been converted and a model made (crem run --until model); nothing is trained.

    \b
    Example:
      crem data show --recipe tiny --work work --step 17
    """
    from jobs.show import show_step

    click.echo(f"step {step}: {show_step(options.make_context(**shared), step, out)}")
