"""`crem synthesize --sample` and `--dry-run`: a few sides are asked about for real, and what the rest will take is said."""

from typing import Any

import click

from launchers import options
from launchers.progress import Progress

_DRY_RUN_SIDES = 20


def sample_synthesis(
    shared: dict[str, Any], machine: dict[str, Any], *, count: int | None, price: tuple[float, float] | None
) -> None:
    """Ask, print what was found, and write the sheet of a sample whose size was said."""
    from jobs.run import Machine, synthesize_stage

    context = options.make_context(**shared)
    stage = synthesize_stage(context, Machine(**machine))
    sheet = context.work / "synthesis-sample.html" if count else None
    try:
        lines = stage.sample(count or _DRY_RUN_SIDES, sheet, price)
    finally:
        if isinstance(context.progress, Progress):
            context.progress.close()
    for line in lines:
        click.echo(line)
    if sheet:
        click.echo(f"sample: {sheet.resolve()}")
