"""`crem sync`: what the store of runs did not take while commands ran."""

from pathlib import Path

import click

from launchers import options
from pipeline.errors import PipelineError
from pipeline.tracking import default_uri, redact, sync


@click.command("sync")
@click.option(
    "--work", type=click.Path(path_type=Path, file_okay=False), default=options.DEFAULT_WORK, help="Work folder of the runs."
)
@click.option("--to", "uri", metavar="URI", help="The store. Default: MLFLOW_TRACKING_URI, else the work folder's own.")
def send(work: Path, uri: str | None) -> None:
    """Send the notes of runs that no store took: a server was away, or MLFLOW_TRACKING_URI=offline kept all here.

    What was sent goes from <work>/unsent. Sent twice, it is in the store once: a sync may be stopped, repeated, and run beside a
    training that goes on.

    \b
    Examples:
      crem sync --work runs/crem_2b
      crem sync --work runs/crem_2b --to http://login1:5000
    """
    store = uri or default_uri(work)
    refused = count = 0
    for sent in sync(work, store):
        more = "; more will come" if sent.is_written else ""
        click.echo(f"run {sent.run_id}: {sent.notes} notes sent, {sent.refused} refused{more}")
        refused, count = refused + sent.refused, count + 1
    click.echo(f"{count} runs sent to {redact(store)}" if count else "nothing waits to be sent")
    if refused:
        raise PipelineError(f"{redact(store)} refused {refused} notes; the warnings above say why")
