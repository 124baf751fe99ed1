"""`crem cache`: the embeddings that evaluation and mining keep, listed, sized and pruned."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from launchers.options import DEFAULT_WORK

if TYPE_CHECKING:
    from pipeline.encode.cached_encoders import CachedEncoder

_MIB = 1 << 20
_WHERE = (
    click.option("--work", type=click.Path(path_type=Path, file_okay=False), default=DEFAULT_WORK, help="Work folder."),
    click.option("--cache", type=click.Path(path_type=Path), help="Folder of kept embeddings. Default: <work>/embeddings."),
)


@click.group()
def cache() -> None:
    """Look after kept embeddings: each model, prompt and number type has a folder of its own.

    \b
    Examples:
      crem cache list --work work/tiny
      crem cache prune --work work/tiny --days 30
      crem cache prune --work work/tiny --most 20000
    """


def _where(command: Any) -> Any:
    for option in reversed(_WHERE):
        command = option(command)
    return command


@cache.command("list")
@_where
def list_(work: Path, cache: Path | None) -> None:
    """List encoders with the size of their embeddings and the time since a run last asked for them.

    \b
    Example:
      crem cache list --work work/tiny
    """
    found = _encoders(work, cache)
    for each in found:
        click.echo(_line(each))
    click.echo(f"{len(found)} encoders, {sum(each.num_bytes for each in found) / _MIB:.1f} MiB")


@cache.command()
@_where
@click.option("--days", type=click.FloatRange(0), help="Remove what no run has asked for in so many days.")
@click.option("--most", type=click.IntRange(0), metavar="MIB", help="Then, from the longest unused on, what is over so much.")
def prune(work: Path, cache: Path | None, days: float | None, most: int | None) -> None:
    """Remove embeddings that are no longer asked for; a run that needs them makes them again. Not while a run is at work.

    \b
    Example:
      crem cache prune --work work/tiny --days 30
    """
    from pipeline.encode.cached_encoders import to_prune

    if days is None and most is None:
        raise click.UsageError("say what may go: --days, --most, or both")
    for each in to_prune(_encoders(work, cache), idle_days=days, most_bytes=None if most is None else most * _MIB):
        each.remove()
        click.echo(f"removed {_line(each)}")


def _encoders(work: Path, folder: Path | None) -> "list[CachedEncoder]":
    from pipeline.encode.cached_encoders import cached_encoders
    from pipeline.encode.embedding_cache import FOLDER

    return cached_encoders(folder or work / FOLDER)


def _line(each: "CachedEncoder") -> str:
    hours = each.idle_seconds / 3600
    age = f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"
    return f"{each.folder.name}  {each.num_bytes / _MIB:>10.1f} MiB  unused for {age}  {each.encoder}"
