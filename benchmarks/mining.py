"""What the search for hard negatives takes: memory by number of candidates, time by queries x candidates x width.

    python -m benchmarks.mining

Vectors are made up and lie in a file, as those of a large corpus do; each line is a search of its own process. Memory is the
process's own (anonymous pages, sampled), less what it had before the search: pages of the mapped file belong to the system. Time
is that of the process's cores, which other work lengthens less than time by the clock. Ratios are to the first line.
"""

import argparse
import multiprocessing
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.negatives.candidates import Candidates
from data_prep.negatives.mining import Dataset, Window, mine
from data_prep.negatives.nearest import QUERY_BLOCK, Exclusions
from pipeline.data.references import read_references, references_file

WINDOW = Window(first=1, last=100, most=20, seed=0)
_WRITTEN_ROWS = 1 << 16
_TICK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Case:
    """A search: so many queries against so many candidates of a width."""

    queries: int
    candidates: int
    width: int

    @property
    def products(self) -> int:
        """Multiplications."""
        return self.queries * self.candidates * self.width


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """Seconds of the cores, most bytes of the process's own beyond what it began with, references that were written."""

    seconds: float
    peak_bytes: int
    references: int


CASES = (
    *(Case(QUERY_BLOCK, candidates, 32) for candidates in (10_000, 100_000, 1_000_000)),
    *(Case(queries, 100_000, 32) for queries in (2 * QUERY_BLOCK, 4 * QUERY_BLOCK)),
    *(Case(QUERY_BLOCK, 100_000, width) for width in (128, 512)),
)


def search(case: Case) -> Took:
    """Mine made-up vectors, in this process."""
    with tempfile.TemporaryDirectory() as folder:
        dataset = _dataset(case, Path(folder))
        with _own_memory() as memory:
            begun = time.process_time()
            mine(Path(folder) / "out", dataset, WINDOW)
            seconds = time.process_time() - begun
        found = read_references(references_file(Path(folder) / "out", dataset.name))
        return Took(seconds=seconds, peak_bytes=max(memory) - memory[0], references=len(found))


def _dataset(case: Case, folder: Path) -> Dataset:
    """Pairs with a query of their own; the gold of pair i is candidate i."""
    numbers, every = np.arange(case.queries), np.arange(case.candidates)
    candidates = Candidates(
        query_rows=numbers,
        candidate_rows=every,
        query_of=numbers,
        excluded=Exclusions(starts=np.arange(case.queries + 1), candidates=numbers),
    )
    return Dataset(
        name="made up",
        made_of="",
        sources=numbers,
        keys=[str(number) for number in range(case.queries)],
        candidates=candidates,
        candidate_sources=every,
        query_embeddings=_vectors(folder / "queries", case.queries, case.width, 0),
        candidate_embeddings=_vectors(folder / "candidates", case.candidates, case.width, 1),
    )


def _vectors(path: Path, count: int, width: int, seed: int) -> np.ndarray:
    """Random vectors of unit norm (N, D) float32 in a file, mapped."""
    random, out = np.random.default_rng(seed), np.memmap(path, dtype=np.float32, mode="w+", shape=(count, width))
    for start in range(0, count, _WRITTEN_ROWS):
        part = random.standard_normal((min(_WRITTEN_ROWS, count - start), width), dtype=np.float32)
        out[start : start + len(part)] = part / np.linalg.norm(part, axis=1, keepdims=True)
    out.flush()
    return out


@contextmanager
def _own_memory() -> Iterator[list[int]]:
    """Anonymous bytes of this process, again and again while the block runs; the first number is from before it."""
    seen, stop = [_anonymous_bytes()], threading.Event()

    def watch() -> None:
        while not stop.wait(_TICK_SECONDS):
            seen.append(_anonymous_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        stop.set()
        watcher.join()


def _anonymous_bytes() -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon:"))


def in_process(case: Case) -> Took:
    """The same in a process of its own, so that no search begins with what another one left."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(search, (case,))


def lines(cases: Sequence[Case], took: Sequence[Took]) -> Iterator[str]:
    """A table: what each took, its time a product and its memory as ratios to the first."""
    yield "| queries | candidates | width | seconds | of the first, a product | own memory, MB | of the first |"
    yield "|---:|---:|---:|---:|---:|---:|---:|"
    first = took[0].seconds / cases[0].products
    for case, one in zip(cases, took, strict=True):
        times, memory = one.seconds / case.products / first, one.peak_bytes / took[0].peak_bytes
        yield (
            f"| {case.queries:,} | {case.candidates:,} | {case.width} | {one.seconds:.2f} | {times:.2f} | "
            f"{one.peak_bytes / 1e6:.0f} | {memory:.2f} |"
        )


def main() -> None:
    """Print the table, line by line as searches end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most-candidates", type=int, default=1_000_000, help="leave out searches of more candidates")
    most = parser.parse_args().most_candidates
    cases = [case for case in CASES if case.candidates <= most]
    took = []
    for number, case in enumerate(cases, start=1):
        took.append(in_process(case))
        print(f"{number} of {len(cases)} searches done", file=sys.stderr)
    print("\n".join(lines(cases, took)))


if __name__ == "__main__":
    main()
