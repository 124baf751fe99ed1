"""`crem data show`: a corpus, or what one training step reads of it, as a page of pictures and texts."""

from pathlib import Path
from typing import Any

import click

from launchers import options


@click.command()
@options.shared
@click.option("--step", type=click.IntRange(1), help="Draw what this step of training reads; 1 is the first.")
@click.option("--rows", type=click.IntRange(1), default=12, help="Without --step: rows of each dataset, drawn by --seed.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Without --step: another seed shows other rows.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="The page. Default: a file in the work folder.")
def show(step: int | None, rows: int, seed: int, out: Path | None, **shared: Any) -> None:
    """Write one self-contained HTML page about a converted corpus.

    Without --step: statistics of every dataset, its rejects by reason, and rows with their pictures. With it: every sequence of
    that step's global batch. These rows pass through the code that training reads with: cut texts, resized pictures and drawn
    coins are those of the run. A model must have been made for it (crem run --until model); nothing is trained.

    \b
    Examples:
      crem data show --work my_work --rows 24
      crem data show --recipe tiny --work work --step 17
    """
    from eval.shards_page import write_page
    from jobs.show import show_step

    context = options.make_context(**shared)
    if step is not None:
        click.echo(f"step {step}: {show_step(context, step, out)}")
        return
    page = out or context.work / "shards.html"
    write_page(context.shards, page, rows=rows, seed=seed)
    click.echo(f"shards: {page.resolve()}")
