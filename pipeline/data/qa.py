"""Synthesized questions and answers as side files, one for each dataset and kind, joined by key: shards are never rewritten.

Kind `qa` is one turn a side and lies in the folder itself. The others are about a side's pictures, hard negatives' too, and have
folders of their own below it: kind `dialogue`, several turns, and kinds `caption` and `description`, one.

The files are uncompressed Arrow, not parquet: they are memory-mapped, so a row costs no more than the pages it lies on, and all
ranks and workers of a machine share them.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa

from pipeline.data.atomic_write import atomic_file
from pipeline.data.keys import slug, source_row
from pipeline.errors import DataError
from pipeline.manifest import file_digest, fingerprint
from pipeline.sample import Turn

QaKind = str
KINDS: tuple[QaKind, ...] = ("qa", "dialogue", "caption", "description")
"""The kinds that are made without further ado; users may have others, about pictures."""

SUFFIX = ".arrow"
BATCH_ROWS = 4096

_TURNS = pa.list_(pa.struct([("question", pa.string()), ("answer", pa.string())]))
_SCHEMA = pa.schema([("row", pa.int64()), ("key", pa.string()), ("query", _TURNS), ("positive", _TURNS)])
_WITH_NEGATIVES = _SCHEMA.append(pa.field("negatives", pa.list_(_TURNS)))
_NEGATIVE = "negative_"


def _schema(kind: QaKind) -> pa.Schema:
    return _SCHEMA if kind == "qa" else _WITH_NEGATIVES


@dataclass(frozen=True, slots=True, kw_only=True)
class QaEntry:
    """Turns for the sides of the sample with this key; those of hard negatives, in their order, are not kept of kind `qa`."""

    key: str
    query: tuple[Turn, ...] = ()
    positive: tuple[Turn, ...] = ()
    negatives: tuple[tuple[Turn, ...], ...] = ()


def kind_folder(folder: Path, kind: QaKind) -> Path:
    """Where the files of a kind lie."""
    return folder if kind == "qa" else folder / kind


def write_qa(rows: Iterable[QaEntry], folder: Path, *, dataset: str, kind: QaKind = "qa") -> int:
    """Write the side file of a dataset and return the number of its rows. `rows` come in the order of their source rows.

    A sample without a row simply has no turns. The file appears whole or not at all.
    """
    place, schema = kind_folder(folder, kind), _schema(kind)
    place.mkdir(parents=True, exist_ok=True)
    count, last, rest = 0, -1, iter(rows)
    with (
        atomic_file(place / (slug(dataset) + SUFFIX)) as path,
        pa.OSFile(str(path), "wb") as sink,
        pa.ipc.new_file(sink, schema) as file,
    ):
        while batch := [_entry(row) for row in islice(rest, BATCH_ROWS)]:
            numbers = [last, *(entry["row"] for entry in batch)]
            assert all(before < after for before, after in pairwise(numbers)), "rows come in source order, once each"
            file.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
            count, last = count + len(batch), numbers[-1]
    return count


class QaTable:
    """The side files of one kind. A dataset without a file, and a row that its file lacks, have no turns."""

    def __init__(self, folder: Path | None, kind: QaKind) -> None:
        """Use `open`; `folder` is that of the kind."""
        self._folder, self._kind = folder, kind
        self._files: dict[str, _File | None] = {}

    @cached_property
    def fingerprint(self) -> str:
        """Depends on every byte of the side files, and on nothing else."""
        paths = sorted(self._folder.glob(f"*{SUFFIX}")) if self._folder else []
        return fingerprint([(path.name, file_digest(path)) for path in paths])

    @classmethod
    def open(cls, folder: Path | None, kind: QaKind = "qa") -> "QaTable":
        """The table over a folder's files of a kind; without a folder there are no synthesized turns at all.

        Raises DataError when the folder is missing, or has nothing of the kind.
        """
        place = None if folder is None else kind_folder(folder, kind)
        if place is not None and not place.is_dir():
            missing = "synthesized turns" if place == folder else f"synthesized turns of kind {kind}"
            raise DataError(f"{place}: no such folder of {missing}; run the synthesis first")
        return cls(place, kind)

    def turns(self, dataset: str, row_key: str, side: str) -> tuple[Turn, ...]:
        """Turns for a side of a sample: "query", "positive" or "negative_<n>" (from 0). Raises DataError for a damaged file."""
        if dataset not in self._files:
            self._files[dataset] = self._load(dataset)
        file = self._files[dataset]
        return file.turns(row_key, side) if file else ()

    def shares(self, dataset: str) -> dict[str, tuple[int, int]]:
        """Sides in a dataset's file, by name ("query", "positive", "negatives"): how many have turns, and how many there are.

        Empty where there is no file. Raises DataError for a damaged one.
        """
        file = self._load(dataset)
        return file.shares() if file else {}

    def _load(self, dataset: str) -> "_File | None":
        path = None if self._folder is None else self._folder / (slug(dataset) + SUFFIX)
        return _File(path, _schema(self._kind)) if path is not None and path.is_file() else None


class _File:
    """One side file, memory-mapped; rows are found by their source row, which rises through the file."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        try:
            file = pa.ipc.open_file(pa.memory_map(str(path)))
            if not file.schema.equals(schema):
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
        return tuple(_turns(_told(batch, place, side)))

    def shares(self) -> dict[str, tuple[int, int]]:
        """As QaTable.shares; only the lengths of the lists are read. A side that no row has is not among them."""
        told, sides = Counter[str](), Counter[str]()
        for batch in self._batches:
            for name in set(batch.schema.names) & {"query", "positive", "negatives"}:
                lists = batch.column(name) if name != "negatives" else batch.column(name).flatten()
                told[name] += int(np.count_nonzero(np.diff(lists.offsets.to_numpy())))
                sides[name] += len(lists)
        return {name: (told[name], sides[name]) for name in ("query", "positive", "negatives") if sides[name]}


def shares_text(shares: Mapping[str, tuple[int, int]]) -> str:
    """Shares of a dataset's sides as words: "query 97.0%, positive 100.0%"."""
    return ", ".join(f"{name} {told / sides:.1%}" for name, (told, sides) in shares.items()) or "none"


def _entry(row: QaEntry) -> dict[str, Any]:
    """A row of a side file; what the schema of its kind lacks is left out as it is written."""
    return {
        "row": source_row(row.key),
        "key": row.key,
        "query": _plain(row.query),
        "positive": _plain(row.positive),
        "negatives": [_plain(turns) for turns in row.negatives],
    }


def _told(batch: pa.RecordBatch, place: int, side: str) -> list[dict[str, str]]:
    """What a row of a batch says about a side."""
    if not side.startswith(_NEGATIVE):
        return cast(list[dict[str, str]], batch.column(side)[place].as_py())
    told = batch.column("negatives")[place].as_py() if "negatives" in batch.schema.names else []
    number = int(side.removeprefix(_NEGATIVE))
    return told[number] if number < len(told) else []


def _plain(turns: tuple[Turn, ...]) -> list[dict[str, str]]:
    return [{"question": turn.question, "answer": turn.answer} for turn in turns]


def _turns(entries: list[dict[str, str]]) -> Iterator[Turn]:
    for entry in entries:
        yield Turn(question=entry["question"], answer=entry["answer"])
