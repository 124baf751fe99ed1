"""Hard negatives of a dataset from embeddings: every query against all candidates, block after block, and a file of references.

A block that is done lies in a file of its own until all are, so that what is killed goes on with the blocks that are missing.
Several processes share the blocks out; who made one cannot be seen from it.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from data_prep.negatives.candidates import POSITIVE, Candidates
from data_prep.negatives.nearest import NOBODY, Floats, Ints, Nearest, nearest, query_blocks
from pipeline.data.references import SCHEMA, read_references, references_file, write_references
from pipeline.data.sampler import generator
from pipeline.encode.ranks import LONE, Ranks
from pipeline.manifest import fingerprint, write_atomic

Done = Callable[[int, int], None]
"""Called with the blocks that are done, and their number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What is taken: of the ranks from `first` to `last` (from 1) `most` at random, by `seed` and the pair's key; or all."""

    first: int
    last: int
    most: int
    seed: int

    def drawn(self, there: int, key: str) -> Ints:
        """The ranks that are taken, rising, of a query with so many ranked candidates."""
        ranks = np.arange(self.first, min(self.last, there) + 1)
        if len(ranks) > self.most:
            ranks = np.sort(generator(self.seed, "mined", key).choice(ranks, size=self.most, replace=False))
        return ranks.astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """What is mined: pairs by source row (N,) and key, their distinct queries and candidates, and embeddings (Q, D), (M, D).

    `candidate_sources` (M,) are the source rows of the candidates. `made_of` names the rows and the model.
    """

    name: str
    made_of: str
    sources: Ints
    keys: Sequence[str]
    candidates: Candidates
    candidate_sources: Ints
    query_embeddings: Floats
    candidate_embeddings: Floats


def mine(
    out: Path,
    dataset: Dataset,
    window: Window,
    *,
    device: str = "cpu",
    ranks: Ranks = LONE,
    done: Done = lambda done, total: None,
) -> int:
    """Write the side file of a dataset, unless it is there; returns how many references it has. Every rank must call it."""
    path = references_file(out, dataset.name)
    if not ranks.gather(path.is_file())[0]:  # the first's word: others may look before or behind its writing
        parts = out / f"{path.stem}.blocks"
        if ranks.is_first:
            _begin(parts, dataset, window)
        ranks.gather(None)
        blocks = _mined_blocks(parts, dataset, window, device=device, ranks=ranks, done=done)
        ranks.gather(None)
        if ranks.is_first:
            table = pa.concat_tables([SCHEMA.empty_table(), *(read_references(block) for block in blocks)])
            write_references(path, table.sort_by([("row", "ascending"), ("rank", "ascending")]).combine_chunks())
            shutil.rmtree(parts)
        ranks.gather(None)
    return len(read_references(path))


def _mined_blocks(parts: Path, dataset: Dataset, window: Window, *, device: str, ranks: Ranks, done: Done) -> list[Path]:
    """Files of all blocks of queries, of which this rank makes its share; those that are there are not made again."""
    pairs_of = _pairs_by_query(dataset.candidates.query_of)
    blocks = query_blocks(len(dataset.query_embeddings))
    files = [parts / f"{number:06d}.parquet" for number in range(len(blocks))]
    for number, (block, file) in enumerate(zip(blocks, files, strict=True)):
        if number % ranks.count == ranks.rank and not file.is_file():
            found = nearest(
                dataset.query_embeddings,
                dataset.candidate_embeddings,
                dataset.candidates.excluded,
                block,
                window.last,
                device=device,
            )
            write_references(file, _table(dataset, window, found, block, pairs_of))
        done(number + 1, len(blocks))
    return files


def _begin(parts: Path, dataset: Dataset, window: Window) -> None:
    """Make the folder of blocks; one of another model, other rows or another window is emptied."""
    made_of = fingerprint([window, dataset.made_of])
    note = parts / "made_of.json"
    if note.is_file() and json.loads(note.read_text()) == made_of:
        return
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir(parents=True)
    write_atomic(note, json.dumps(made_of))


def _pairs_by_query(query_of: Ints) -> tuple[Ints, Ints]:
    """Pairs in the order of their queries, and where those of each query begin in it."""
    order = np.argsort(query_of, kind="stable")
    return order, np.concatenate([[0], np.cumsum(np.bincount(query_of))]).astype(np.int64)


def _table(dataset: Dataset, window: Window, found: Nearest, block: slice, pairs_of: tuple[Ints, Ints]) -> pa.Table:
    """The references of all pairs whose query is of the block."""
    parts = list(zip(*_references(dataset, window, found, block, pairs_of), strict=True))
    row, rank, candidate, similarity = (np.concatenate(part) for part in parts)
    side = np.full(len(row), POSITIVE)
    columns = (row, rank, candidate, side, similarity)
    return pa.table([pa.array(each, type=kind) for each, kind in zip(columns, SCHEMA.types, strict=True)], schema=SCHEMA)


def _references(
    dataset: Dataset, window: Window, found: Nearest, block: slice, pairs_of: tuple[Ints, Ints]
) -> Iterator[tuple[Ints, Ints, Ints, Floats]]:
    """Source row, ranks, source rows of candidates and similarities of each pair."""
    order, starts = pairs_of
    for place, query in enumerate(range(block.start, block.stop)):
        numbers, similarities = found.candidates[place], found.similarities[place]
        there = int((numbers != NOBODY).sum())
        for pair in order[starts[query] : starts[query + 1]].tolist():
            ranks = window.drawn(there, dataset.keys[pair])
            chosen = ranks - 1
            yield (
                np.full(len(ranks), dataset.sources[pair]),
                ranks,
                dataset.candidate_sources[numbers[chosen]],
                similarities[chosen],
            )
