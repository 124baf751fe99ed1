"""References to hard negatives: side files beside the shards, one a dataset, joined to rows by their number in the source.

A row of a file says that for the pair of source row `row` the side `side` of source row `candidate` of the same dataset has rank
`rank` (from 1) among its candidates. Rows rise by `row`, then by `rank`. No text and no picture is copied.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.data.atomic_write import atomic_file
from pipeline.data.keys import slug
from pipeline.data.shards import ShardIndex
from pipeline.errors import DataError
from pipeline.manifest import fingerprint

SUFFIX = ".parquet"
VERDICTS = "verdicts"
"""Below a folder of judged references: what the judge said of each reference that was mined, one file a dataset."""
SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("rank", pa.int32()),
        ("candidate", pa.int64()),
        ("side", pa.int8()),
        ("similarity", pa.float32()),
    ]
)
"""`side` is the place among `Sample.sides`, `similarity` the inner product of the two embeddings."""
VERDICT_SCHEMA = SCHEMA.append(pa.field("margin", pa.float32()))
"""References with the judge's margin of yes over no; null where it did not say."""

Ints = npt.NDArray[np.int64]


def references_file(folder: Path, dataset: str) -> Path:
    """The side file of a dataset."""
    return folder / (slug(dataset) + SUFFIX)


def verdicts_file(folder: Path, dataset: str) -> Path:
    """What a judge said of a dataset's references."""
    return references_file(folder / VERDICTS, dataset)


def write_references(path: Path, table: pa.Table) -> None:
    """Write a side file; it is there whole or not at all. Raises DataError for a table of another form."""
    if not table.schema.equals(SCHEMA):
        raise DataError(f"{path}: a table of {', '.join(table.schema.names)}; references have {', '.join(SCHEMA.names)}")
    with atomic_file(path) as aside:
        pq.write_table(table, aside, compression="zstd")


def read_references(path: Path) -> pa.Table:
    """A side file. Raises DataError for one that is missing, damaged or of another form."""
    return _read(path, SCHEMA, "references to hard negatives", "mine the negatives again")


def _read(path: Path, schema: pa.Schema, what: str, advice: str) -> pa.Table:
    try:
        table = pq.ParquetFile(path, memory_map=True).read()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: is damaged or missing; {advice}") from error
    if not table.schema.equals(schema):
        raise DataError(f"{path}: is not a file of {what}; {advice}")
    return table


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class References:
    """Hard negatives of every row of a corpus, by rank: those of row i are from `starts[i]` to `starts[i + 1]`.

    `rows` (M,) are row numbers of the corpus, `sides` (M,) places among their sides.
    """

    starts: Ints
    rows: Ints
    sides: Ints

    @property
    def fingerprint(self) -> str:
        """Depends on every reference."""
        return fingerprint([hashlib.sha256(part.tobytes()).hexdigest() for part in (self.starts, self.rows, self.sides)])

    @classmethod
    def open(cls, folder: Path, index: ShardIndex) -> "References":
        """The side files of a folder, by the rows of a corpus; a dataset without a file has none.

        Raises DataError where there is no folder, or a file names a row that the corpus does not have.
        """
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder of hard negatives; run crem mine first")
        files = {name: references_file(folder, name) for name in index.datasets}
        return cls._of({name: read_references(path) for name, path in files.items() if path.is_file()}, files, index)

    @classmethod
    def open_right(cls, folder: Path, index: ShardIndex) -> "References":
        """What a judge said yes to, of the verdicts of a folder; nothing of a dataset that was not judged. Raises as `open`."""
        files = {name: verdicts_file(folder, name) for name in index.datasets}
        return cls._of({name: _right(path) for name, path in files.items() if path.is_file()}, files, index)

    @classmethod
    def _of(cls, tables: Mapping[str, pa.Table], files: Mapping[str, Path], index: ShardIndex) -> "References":
        parts = [_part(files[name], name, table, index) for name, table in tables.items()]
        counts = np.zeros(len(index), dtype=np.int64)
        for own, _, _ in parts:
            counts += np.bincount(own, minlength=len(index))
        empty = np.zeros(0, dtype=np.int64)
        return cls(
            starts=np.concatenate([[0], np.cumsum(counts)]),
            rows=np.concatenate([empty, *(rows for _, rows, _ in parts)]),
            sides=np.concatenate([empty, *(sides for _, _, sides in parts)]),
        )

    def of(self, row: int) -> list[tuple[int, int]]:
        """Row and side of each hard negative of a row."""
        span = slice(self.starts[row], self.starts[row + 1])
        return list(zip(self.rows[span].tolist(), self.sides[span].tolist(), strict=True))


def read_verdicts_table(path: Path) -> pa.Table:
    """A file of verdicts. Raises DataError for one that is missing, damaged or of another form."""
    return _read(path, VERDICT_SCHEMA, "a judge's verdicts", "run crem judge again")


def _right(path: Path) -> pa.Table:
    """The references of a file of verdicts that the judge said yes to."""
    table = read_verdicts_table(path)
    return table.filter(pc.fill_null(pc.greater(table.column("margin"), 0), False))


def _part(path: Path, name: str, table: pa.Table, index: ShardIndex) -> tuple[Ints, Ints, Ints]:
    """Row of the pair, row and side of the candidate, in numbers of the corpus."""
    row, candidate, side = (table.column(each).to_numpy().astype(np.int64) for each in ("row", "candidate", "side"))
    try:
        rows, candidates = corpus_rows(index, name, row), corpus_rows(index, name, candidate)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    if (np.diff(rows) < 0).any():
        raise DataError(f"{path}: its rows are not in order; mine it again")
    return rows, candidates, side


def corpus_rows(index: ShardIndex, name: str, source_rows: Ints) -> Ints:
    """The corpus's rows (N,) of a dataset's source rows (N,). Raises DataError for one that the dataset does not have."""
    source = index.source_rows(name)
    found = np.searchsorted(source, source_rows)
    there = np.minimum(found, len(source) - 1)
    if len(found) and not (len(source) and (source[there] == source_rows).all()):
        raise DataError(f"names rows that {name} does not have; it was mined of other shards, so mine it again")
    return (found + index.datasets[name].start).astype(np.int64)
