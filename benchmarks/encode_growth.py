"""How the cost of the encoding layer alone grows with the number of sides, over an encoder that costs nothing.

Each number of sides has a process of its own. Held is what Python and numpy allocate at most. Resident is what the kernel counts:
anonymous memory, which only a swap could free, and pages of mapped files, which are dropped where others need room. The result is
mapped here whatever its size, so that none of the figures but the last contains it; from that one it is taken off.
"""

import multiprocessing
import tempfile
import threading
import tracemalloc
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from unittest.mock import patch

import click
import numpy as np

from pipeline.encode.encode import encode
from pipeline.encode.encoder import Reading
from pipeline.encode.share import Encoding
from pipeline.sample import Side

WIDTH = 256
COUNTS = (1_000, 10_000, 100_000)
MIB = 2**20
SAMPLE_SECONDS = 0.01


class Free:
    """An encoder that costs nothing, and the reader of its texts."""

    encoder_fingerprint = "free"

    @property
    def reader(self) -> "Free":
        """Itself."""
        return self

    def reading(self, side: Side) -> Reading:
        """A token for four characters."""
        return Reading(tokens=len(side.text) // 4)

    def batch(self, sides: Sequence[Side]) -> list[int]:
        """Numbers that the texts begin with."""
        return [int(side.text.split()[0]) for side in sides]

    def embed_batch(self, batch: list[int]) -> np.ndarray:
        """Vectors (N, WIDTH)."""
        return np.repeat(np.array(batch, dtype=np.float32)[:, None], WIDTH, axis=1)


class Texts:
    """So many distinct texts, made when asked for."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int, /) -> Side:
        return Side(text=f"{number} {'word ' * (5 + number % 40)}")


@dataclass(frozen=True, slots=True)
class Growth:
    """Of one pass over some sides: microseconds of processor time a side, and the most bytes beyond the result."""

    cost: float
    held: int
    anonymous: int
    mapped: int


def growth(count: int) -> tuple[Growth, Growth]:
    """A pass that finds nothing kept, and one that finds everything."""
    with tempfile.TemporaryDirectory() as folder, patch("pipeline.encode.encode.IN_MEMORY_BYTES", 0):
        timed = [_resident(count, Path(folder) / "timed") for _ in range(2)]
        held = [_held(count, Path(folder) / "traced") for _ in range(2)]
    first, again = (Growth(cost, most, *resident) for (cost, *resident), most in zip(timed, held, strict=True))
    return first, again


def _resident(count: int, cache: Path) -> tuple[float, int, int]:
    """Microseconds a side, anonymous bytes, and mapped ones."""
    with _watched() as most:
        begun = process_time()
        result = encode(Free(), Texts(count), what="growth", how=Encoding(cache=cache))
        taken = process_time() - begun
    return 1e6 * taken / count, most["RssAnon"], max(0, most["RssFile"] - result.nbytes)


def _held(count: int, cache: Path) -> int:
    tracemalloc.start()
    encode(Free(), Texts(count), what="growth", how=Encoding(cache=cache))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@contextmanager
def _watched() -> Iterator[dict[str, int]]:
    """By how many bytes each kind of this process's resident memory grows at most, filled in when the block ends."""
    start, ended = resident_bytes(), threading.Event()
    most, told = dict(start), dict[str, int]()

    def look() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            for kind, size in resident_bytes().items():
                most[kind] = max(most[kind], size)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield told
    finally:
        ended.set()
        thread.join()
        told |= {kind: most[kind] - start[kind] for kind in start}


def resident_bytes() -> dict[str, int]:
    """This process's anonymous memory and mapped pages, as the kernel names them."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {name.rstrip(":"): 1024 * int(rest[0]) for name, *rest in lines if name in ("RssAnon:", "RssFile:")}


def print_growth(counts: Sequence[int]) -> None:
    """A table, a line for each number of sides and pass."""
    click.echo(
        "\n| sides | | microseconds a side | held, MiB | resident: anonymous, MiB | mapped, MiB |\n|---|---|---|---|---|---|"
    )
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as fresh:
        for count, passes in zip(counts, fresh.map(growth, counts), strict=True):
            for name, each in zip(("nothing kept", "all kept"), passes, strict=True):
                sizes = " | ".join(f"{size / MIB:.1f}" for size in (each.held, each.anonymous, each.mapped))
                click.echo(f"| {count:,} | {name} | {each.cost:.1f} | {sizes} |")


@click.command()
@click.option("--count", "counts", multiple=True, type=int, default=COUNTS, show_default=True, help="Sides.")
def main(counts: tuple[int, ...]) -> None:
    """Print what the layer alone takes for so many made-up sides. Example: --count 10000 --count 1000000."""
    print_growth(counts)


if __name__ == "__main__":
    main()
