"""Synthesized questions and answers as side files, one for each dataset, joined by key: shards are never rewritten.

The files are uncompressed Arrow, not parquet: they are memory-mapped, so a row costs no more than the pages it lies on, and all
ranks and workers of a machine share them.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from pipeline.data.atomic_write import atomic_file
from pipeline.data.keys import slug, source_row
from pipeline.errors import DataError
from pipeline.manifest import file_digest, fingerprint
from pipeline.sample import Turn

SUFFIX = ".arrow"
BATCH_ROWS = 4096

_TURNS = pa.list_(pa.struct([("question", pa.string()), ("answer", pa.string())]))
_SCHEMA = pa.schema([("row", pa.int64()), ("key", pa.string()), ("query", _TURNS), ("positive", _TURNS)])


@dataclass(frozen=True, slots=True, kw_only=True)
class QaEntry:
    """Turns for the sides of the sample with this key."""

    key: str
    query: tuple[Turn, ...] = ()
    positive: tuple[Turn, ...] = ()


def write_qa(rows: Iterable[QaEntry], folder: Path, *, dataset: str) -> int:
    """Write the side file of a dataset and return the number of its rows. `rows` come in the order of their source rows.

    A sample without a row simply has no turns. The file appears whole or not at all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count, last, rest = 0, -1, iter(rows)
    with (
        atomic_file(folder / (slug(dataset) + SUFFIX)) as path,
        pa.OSFile(str(path), "wb") as sink,
        pa.ipc.new_file(sink, _SCHEMA) as file,
    ):
        while batch := [_entry(row) for row in islice(rest, BATCH_ROWS)]:
            numbers = [last, *(entry["row"] for entry in batch)]
            assert all(before < after for before, after in pairwise(numbers)), "rows come in source order, once each"
            file.write_batch(pa.RecordBatch.from_pylist(batch, schema=_SCHEMA))
            count, last = count + len(batch), numbers[-1]
    return count


class QaTable:
    """The side files of a folder. A dataset without a file, and a row that its file lacks, have no turns."""

    def __init__(self, folder: Path | None) -> None:
        """Use `open`."""
        self._folder = folder
        self._files: dict[str, _File | None] = {}

    @cached_property
    def fingerprint(self) -> str:
        """Depends on every byte of the side files, and on nothing else."""
        paths = sorted(self._folder.glob(f"*{SUFFIX}")) if self._folder else []
        return fingerprint([(path.name, file_digest(path)) for path in paths])

    @classmethod
    def open(cls, folder: Path | None) -> "QaTable":
        """The table over a folder; None stands for no synthesized turns at all. Raises DataError when the folder is missing."""
        if folder is not None and not folder.is_dir():
            raise DataError(f"{folder}: no such folder of synthesized turns; run the synthesis first")
        return cls(folder)

    def turns(self, dataset: str, row_key: str, side: Literal["query", "positive"]) -> tuple[Turn, ...]:
        """Turns for a side of a sample. Raises DataError for a damaged file."""
        if dataset not in self._files:
            self._files[dataset] = self._load(dataset)
        file = self._files[dataset]
        return file.turns(row_key, side) if file else ()

    def _load(self, dataset: str) -> "_File | None":
        path = None if self._folder is None else self._folder / (slug(dataset) + SUFFIX)
        return _File(path) if path is not None and path.is_file() else None


class _File:
    """One side file, memory-mapped; rows are found by their source row, which rises through the file."""

    def __init__(self, path: Path) -> None:
        try:
            file = pa.ipc.open_file(pa.memory_map(str(path)))
            if not file.schema.equals(_SCHEMA):
                raise DataError(f"{path}: is not a file of synthesized turns; run the synthesis again")
            self._batches: list[pa.RecordBatch] = [file.get_batch(number) for number in range(file.num_record_batches)]
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path}: is damaged; run the synthesis again") from error
        self._rows = [batch.column("row").to_numpy() for batch in self._batches]
        self._firsts = [int(rows[0]) for rows in self._rows]

    def turns(self, key: str, side: str) -> tuple[Turn, ...]:
        row = source_row(key)
        number = bisect_right(self._firsts, row) - 1
        if number < 0:
            return ()
        place = int(np.searchsorted(self._rows[number], row))
        batch = self._batches[number]
        if place == len(batch) or batch.column("key")[place].as_py() != key:
            return ()
        return tuple(_turns(batch.column(side)[place].as_py()))


def _entry(row: QaEntry) -> dict[str, Any]:
    return {"row": source_row(row.key), "key": row.key, "query": _plain(row.query), "positive": _plain(row.positive)}


def _plain(turns: tuple[Turn, ...]) -> list[dict[str, str]]:
    return [{"question": turn.question, "answer": turn.answer} for turn in turns]


def _turns(entries: list[dict[str, str]]) -> Iterator[Turn]:
    for entry in entries:
        yield Turn(question=entry["question"], answer=entry["answer"])
