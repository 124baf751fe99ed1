"""The conversion against bare loops on one core, its memory against the number of rows, and readers of what it wrote.

The conversion and its loop run in turn within one process, so that what slows the machine slows both; each repeat gives a ratio
and the median of the ratios is what counts. The clock is the processor time of the process: on one core the same as time on
a calm machine, and it stands still while other programs have the core or the disk is waited for.
"""

import os
import random
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import process_time

import click
import webdataset

from benchmarks.convert_loops import (
    bare_loop,
    decoded,
    drawn_pictures,
    found_pictures,
    nothing,
    pillow_alone,
    resized,
    write_corpus,
)
from data_prep.convert import Conversion, convert
from eval.subject import one_line_errors
from pipeline.data.shard_plan import MAX_PIXELS
from pipeline.data.shards import ShardIndex

NEEDED = {"verified": 0.9, "not verified": 0.7, "resized": 0.9}
"""What the project asks of the ratios."""

_MEMORY_PICTURES, _MEMORY_SIDE = 500, 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One comparison: rows a second of the conversion and of its loop, and the ratio of each repeat."""

    name: str
    rows: int
    ours: float
    bare: float
    ratios: tuple[float, ...]

    @property
    def line(self) -> str:
        """A row of the table that the documentation holds."""
        spread = f"{min(self.ratios):.2f} to {max(self.ratios):.2f}"
        rates = f"{self.rows / self.ours:,.0f} | {self.rows / self.bare:,.0f}"
        return f"| {self.name} | {rates} | {median(self.ratios):.2f} ({spread}) | {NEEDED[self.name]} |"


def compare(root: Path, *, rows: int, repeats: int, max_pixels: int) -> Iterator[Measured]:
    """The three comparisons on one corpus; `max_pixels` is what the third shrinks to."""
    shrink = resized(max_pixels)
    with _scratch() as aside:
        yield _measured("verified", _ours(root, aside), lambda: bare_loop(root, aside / "bare.tar", decoded), rows, repeats)
        plain = _ours(root, aside, verify=False)
        yield _measured("not verified", plain, lambda: bare_loop(root, aside / "bare.tar", nothing), rows, repeats)
        small = _ours(root, aside, max_pixels=max_pixels)
        yield _measured("resized", small, lambda: pillow_alone(root, shrink), rows, repeats)


def peak_memory(rows: int) -> float:
    """Peak memory in MiB of a process that converts so many rows."""
    with _scratch() as aside:
        write_corpus(aside / "data", drawn_pictures(_MEMORY_PICTURES, _MEMORY_SIDE), rows)
        ours, theirs = os.pipe()
        child = os.fork()
        if not child:
            convert(Conversion(data=aside / "data", out=aside / "out"))
            os.write(theirs, str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024).encode())
            os._exit(0)
        os.close(theirs)
        with os.fdopen(ours) as said:
            peak = float(said.read())
        os.waitpid(child, 0)
        return peak


def readers(root: Path, repeats: int) -> dict[str, float]:
    """Rows a second of each way to read the same shards: raw bytes of all pictures and texts, files in the page cache."""
    with _scratch() as aside:
        convert(Conversion(data=root, out=aside / "out", verify=False))
        urls = sorted(str(path) for path in (aside / "out").glob("*/*.tar"))
        index = ShardIndex.open(aside / "out")
        shuffled = random.Random(0).sample(range(len(index)), len(index))
        ways: dict[str, Callable[[], object]] = {
            "WebDataset, sequential": lambda: sum(1 for _ in webdataset.WebDataset(urls, shardshuffle=False)),
            "index, in order": lambda: [index.read(row) for row in range(len(index))],
            "index, at random": lambda: [index.read(row) for row in shuffled],
        }
        seconds = {name: min(_seconds(way) for _ in range(repeats)) for name, way in ways.items()}
        return {name: len(index) / spent for name, spent in seconds.items()}


def _measured(name: str, ours: Callable[[], None], bare: Callable[[], None], rows: int, repeats: int) -> Measured:
    pairs = [(_seconds(ours), _seconds(bare)) for _ in range(repeats)]
    return Measured(
        name=name,
        rows=rows,
        ours=min(mine for mine, _ in pairs),
        bare=min(theirs for _, theirs in pairs),
        ratios=tuple(theirs / mine for mine, theirs in pairs),
    )


def _ours(root: Path, aside: Path, *, verify: bool = True, max_pixels: int = MAX_PIXELS) -> Callable[[], None]:
    def run() -> None:
        shutil.rmtree(aside / "out", ignore_errors=True)
        convert(Conversion(data=root, out=aside / "out", verify=verify, max_pixels=max_pixels))

    return run


def _seconds(work: Callable[[], object]) -> float:
    begun = process_time()
    work()
    return process_time() - begun


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="crem-convert-") as folder:
        yield Path(folder)


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="Take the pictures of this data folder instead of drawn ones.")
@click.option("--rows", default=2000, help="Rows of the corpus.")
@click.option("--side", default=512, help="Longer side of the drawn pictures, in pixels.")
@click.option("--repeats", default=5, help="Runs of each.")
@click.option("--max-pixels", default=224 * 224, help="What the third comparison shrinks to.")
@click.option("--memory/--no-memory", default=True, help="Measure peak memory at 10,000 and 100,000 rows.")
def main(data: Path | None, rows: int, side: int, repeats: int, max_pixels: int, memory: bool) -> None:
    """Print the tables of docs/benchmarks.md.

    \b
    Example:
      python -m benchmarks.convert --data corpora --repeats 5
    """
    with _scratch() as root:
        pictures = found_pictures(data, rows) if data else drawn_pictures(min(rows, 200), side)
        write_corpus(root / "data", pictures, rows)
        size = sum(map(len, pictures)) / len(pictures) / 1024
        print(f"{rows} rows, {len(pictures)} pictures of {size:.0f} KiB in the mean, {repeats} repeats\n")
        print("| conversion | rows a second | its loop | ratio (least to most) | needed |\n|---|---|---|---|---|")
        for measured in compare(root / "data", rows=rows, repeats=repeats, max_pixels=max_pixels):
            print(measured.line, flush=True)
        print("\n| reader | rows a second |\n|---|---|")
        for name, rate in readers(root / "data", repeats).items():
            print(f"| {name} | {rate:,.0f} |", flush=True)
    if memory:
        print("\n| rows | peak memory, MiB |\n|---|---|")
        for count in (10_000, 100_000):
            print(f"| {count:,} | {peak_memory(count):.0f} |", flush=True)


if __name__ == "__main__":
    with one_line_errors():
        main()
