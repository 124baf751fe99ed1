"""`crem compare`: two evaluated models paired by query, or the spread of several."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from launchers.options import DEFAULT_WORK

if TYPE_CHECKING:
    from eval.mmeb import MmebResult


@click.command()
@click.argument("runs", metavar="RUN_A RUN_B [RUN ...]", nargs=-1, required=True)
@click.option("--work", type=click.Path(path_type=Path, file_okay=False), default=DEFAULT_WORK, help="Work folder of run ids.")
@click.option(
    "--page", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.html", help="Of two runs: show what changed."
)
@click.option(
    "--data", type=click.Path(path_type=Path), help="With --page: the data folder of the two runs. Default: <work>/toy."
)
@click.option("--result", default="mmeb.json", help="Which result file of a run: mmeb-blank.json, mmeb_v2.json, ...")
def compare(runs: tuple[str, ...], work: Path, page: Path | None, data: Path | None, result: str) -> None:
    """Say what RUN_B gains over RUN_A in P@1, by set and meta-task, with interval and permutation test.

    Of three runs or more, such as those of other seeds, mean and spread are told instead. A run is a result file, a folder of
    results, a label that crem evaluate gives (trained, untrained), or a run id that python -m eval.mmeb measured.

    \b
    Examples:
      crem compare untrained trained --work work/tiny
      crem compare untrained trained --work work/tiny --page changed.html
      crem compare runs/a/eval/RUN_ID runs/b/eval/RUN_ID
      crem compare seed0/eval/main/trained seed1/eval/main/trained seed2/eval/main/trained
    """
    from eval import compare_page, paired
    from eval.spread import spread, table

    if len(runs) < 2:
        raise click.UsageError("name two runs or more")
    if page is not None and len(runs) != 2:
        raise click.UsageError("--page shows what changed between two runs; name two")
    results = [_result(name, work, result) for name in runs]
    click.echo(paired.table(paired.differences(*results)) if len(runs) == 2 else table(spread(results)))
    if page is not None:
        compare_page.write_page(results[0], results[1], data or work / "toy", page)
        click.echo(f"page: {page}")


def _result(name: str, work: Path, file: str) -> "MmebResult":
    from eval.mmeb import MmebResult
    from eval.results import read_result
    from pipeline.errors import ConfigError

    places = [Path(name), Path(name) / file, work / "eval" / "main" / name / file, work / "eval" / name / file]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise ConfigError(f"{name}: no results there: neither {' nor '.join(map(str, places))} is a file; evaluate it first")
    return read_result(MmebResult, found)
