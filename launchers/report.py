"""`crem report`: the page of a work folder, or several measured models beside each other and beside the papers."""

from pathlib import Path
from typing import Any

import click

from launchers import options
from launchers.stages import one_stage

TOY_NOTICE = "Of the toy world, and not comparable with MMEB: {}"


@click.command()
@options.shared
@click.option(
    "--run-id",
    "run_ids",
    multiple=True,
    metavar="[WORK:]ID",
    help="A tracked run of crem run, train or evaluate whose model is shown; several times. WORK: another work folder's run.",
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="With --run-id: folder of the page and the tables.")
def report(run_ids: tuple[str, ...], out: Path | None, **shared: Any) -> None:
    """Write one self-contained HTML page: tables, curves, retrieval examples, answers side by side.

    Without --run-id it is the page of the work folder. With it, measured models stand beside each other and beside the tables
    that the papers print, with differences where both measure the same, in report.html, figures.csv and lineage.csv; ablation
    tables are filled from the work folder's tracked runs.

    \b
    Examples:
      crem report --recipe tiny --work work
      crem report --work work --run-id RUN_ID --out shown
      crem report --run-id runs/a:RUN_ID --run-id runs/b:RUN_ID --out shown
    """
    if not run_ids:
        if out is not None:
            raise click.UsageError("--out: belongs to --run-id; the page of a work folder is <work>/report/report.html")
        one_stage("report", shared)
        return
    if out is None:
        raise click.UsageError("--run-id: needs --out, the folder of the page and the tables")
    for path in _write(run_ids, shared["work"], out):
        click.echo(f"written: {path}")


def _write(run_ids: tuple[str, ...], work: Path, out: Path) -> list[Path]:
    from eval.run_report.ablations import found_ablations
    from eval.run_report.page import write_report
    from eval.run_report.papers import ablation_tables
    from jobs.tracked_results import measured_by
    from pipeline.tracking import default_uri

    places = [_place(value, work) for value in dict.fromkeys(run_ids)]
    models = [measured_by(default_uri(folder), run_id) for folder, run_id in places]
    stores = dict.fromkeys(default_uri(folder) for folder, _ in places)
    ablations = {name: ours for uri in reversed(stores) for name, ours in found_ablations(uri, ablation_tables()).items()}
    toys = ", ".join(each.label for each in models if each.lineage.is_toy)
    return write_report(models, ablations, out, notice=TOY_NOTICE.format(toys) if toys else "")


def _place(value: str, work: Path) -> tuple[Path, str]:
    """The work folder and the id of a run."""
    folder, separator, run_id = value.rpartition(":")
    return (Path(folder) if separator else work), run_id
