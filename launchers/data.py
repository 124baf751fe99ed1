"""`crem data`: corpora checked; their shards merged, verified, shown, and held against the benchmarks."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import click

from launchers import options
from launchers.progress import Progress
from launchers.show import show
from launchers.stages import runner, tell


@click.group()
def data() -> None:
    """Look after corpora and their shards.

    \b
    Examples:
      crem data check --data my_data
      crem data verify --work my_work
      crem data show --work my_work
      crem data leaks --work my_work --data my_data
    """


_WHEN_ALL_ARE = {"convert": "crem data merge", "synthesize": "crem synthesize without --shard-index"}


def one_slice(name: str, shared: dict[str, Any], machine: dict[str, Any], *, index: int, of: int) -> None:
    """Make one slice of a conversion or a synthesis and say what was made."""
    from data_prep.slices import Slice
    from jobs.run import Machine, convert_stage, synthesize_stage

    part = Slice(index=index, of=of)
    context = options.make_context(**shared, needs=options.needed(machine))
    if context.force:
        raise click.UsageError("--force would move what other slices made away; remove what is to be made again")
    make = convert_stage if name == "convert" else synthesize_stage
    stage = make(context, Machine(**machine))
    try:
        counts = stage.run_slice(part)
    finally:
        if isinstance(context.progress, Progress):
            context.progress.close()
    said = "".join(f", {what} {count}" for what, count in counts.items())
    click.echo(f"{name}: slice {index} of {of} is done ({stage.folder}{said}); when all are, run {_WHEN_ALL_ARE[name]}")


@data.command()
@options.shared
@options.pictures
@click.option("--num-shards", type=click.IntRange(1), default=1, metavar="N", help="In how many slices it was converted.")
def merge(num_shards: int, **given: Any) -> None:
    """Make a conversion whole that was done in slices: index, rejects and statistics of every dataset, and the manifest.

    Only small files are read. Missing shards are an error that names the slices to run again. The other options must be those
    of the slices.

    \b
    Example:
      crem data merge --data my_data --work my_work --num-shards 16
    """
    from dataclasses import replace

    from jobs.run import Machine, convert_stage

    shared = options.take_shared(given)
    context = options.make_context(**shared, needs=options.needed(given))
    machine = Machine(**given)
    stage = replace(convert_stage(context, machine), num_slices=num_shards)
    tell(runner(1)(stage, context))


@data.command()
@click.option("--data", "folder", type=click.Path(path_type=Path), required=True, help="Data folder with MMEB-train/ and more.")
@click.option("--recipe", metavar="NAME", help="What is to be trained: the conversations that it draws from must be there.")
@options.SETTINGS
def check(folder: Path, recipe: str | None, settings: tuple[str, ...]) -> None:
    """Say what a data folder has and what is missing, by name and count, before any work starts.

    MMEB-eval is read whole and its pictures decoded, and so are the question files of mcq/; conversations are read row by row as
    the conversion would judge them; of the other pictures only the presence is looked at. The exit code is 1 where what is there
    is damaged or lacks something, or a benchmark is not there. Without --recipe, conversations are held against the paper's.

    \b
    Example:
      crem data check --data my_data --recipe crem_2b
    """
    from data_prep.check_inputs import Finding
    from data_prep.check_inputs import check as look
    from eval.question_files import question_files, read_questions
    from pipeline.errors import DataError
    from pipeline.recipes.source import resolve

    mixture = resolve(recipe, settings).phase.mixture if recipe else None

    def questions() -> Iterator[Finding]:
        for path in question_files(folder) if (folder / "mcq").is_dir() else []:
            try:
                table = read_questions(path)
            except DataError as error:
                yield Finding(path.stem, str(error), is_problem=True)
            else:
                yield Finding(path.stem, table.summary, is_problem=bool(table.unusable))

    problems = 0
    for finding in chain(look(folder, mixture), questions()):
        problems += finding.is_problem
        click.echo(finding.line)
    if problems:
        raise DataError(f"{folder}: {problems} problems, marked with ! above; what is missing would be rejected row by row")


@data.command()
@click.option("--work", type=click.Path(path_type=Path, file_okay=False), default=options.DEFAULT_WORK, help="Its work folder.")
def verify(work: Path) -> None:
    """Stream every shard with webdataset and hold it against checksums, index and counts.

    \b
    Example:
      crem data verify --work my_work
    """
    from data_prep.verify import verify_shards
    from pipeline.errors import DataError

    progress, findings = _Progress("verify"), 0
    for report in verify_shards(work / "shards", progress):
        progress.close()
        click.echo(report.line)
        for finding in report.findings:
            click.echo(f"  {finding}")
        findings += len(report.findings)
    if findings:
        raise DataError(f"{work / 'shards'}: {findings} findings; remove the shards named above and run crem convert again")


@data.command()
@click.option("--work", type=click.Path(path_type=Path, file_okay=False), default=options.DEFAULT_WORK, help="Its work folder.")
@click.option("--data", "folder", type=click.Path(path_type=Path), help="Folder with MMEB-eval. Default: <work>/toy.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="The findings as JSON. Default: <work>/leaks.json.")
def leaks(work: Path, folder: Path | None, out: Path | None) -> None:
    """Count pictures and texts of MMEB-eval that occur in the shards too, by content, for each dataset.

    Pictures are compared as the conversion would have stored them, texts without differences of space and case. Whether a shared
    text is a leak depends on the task: labels of a classification are meant to recur, questions about the same picture are not.

    \b
    Example:
      crem data leaks --work my_work --data my_data
    """
    from data_prep.leaks import find_leaks, write_leaks

    progress = _Progress("leaks")
    found = find_leaks(folder or work / "toy", work / "shards", progress)
    progress.close()
    for line in found.lines():
        click.echo(line)
    path = out or work / "leaks.json"
    write_leaks(found, path)
    click.echo(f"leaks: {path.resolve()}")


data.add_command(show)


class _Progress:
    """The progress of a command over datasets, silent where --quiet asks for it."""

    def __init__(self, command: str) -> None:
        self._command, self._shown = command, None if options.is_quiet() else Progress()

    def __call__(self, dataset: str, done: int, total: int) -> None:
        if self._shown:
            self._shown(f"{self._command} {dataset}", done, total)

    def close(self) -> None:
        """Give the line back."""
        if self._shown:
            self._shown.close()
