"""What is to be encoded: distinct contents, packed by cost into batches that depend on nothing but the contents."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.encode.encoder import Reader, Reading, Sides
from pipeline.encode.scratch import filled, parts, scratch
from pipeline.sample import Side

BATCH_TOKENS = 8192
BATCH_SIDES = 256
KEY_BYTES = 32

Content = tuple[str, tuple[bytes, ...]]


def content_of(side: Side) -> Content:
    """What an embedding depends on: the words as they stand and the pictures. Turns are questions about it."""
    return side.instruction + side.text, side.images


def key_of(side: Side, reading: Reading) -> bytes:
    """The sha256 of a side's content and of how it is read (sizes of pictures, words apart): an embedding's name in the cache."""
    how = (reading.shown, reading.apart) if reading.apart else reading.shown
    digest = hashlib.sha256(repr(how).encode())
    words, images = content_of(side)
    for part in (words.encode("utf-8", "surrogatepass"), *images):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()


_RECORD = np.dtype([("key", f"S{KEY_BYTES}"), ("first", ">u4"), ("tokens", "<i4")])
"""A content. As bytes, records are in the order of their keys, and equal ones in that of their sides."""

_SIDE_BITS = 32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Workload:
    """Some sides as M distinct contents: `keys` (M,) S32, `firsts` (M,) a side that has each, `tokens` (M,).

    `rows` (N,) is the content of each side. All of it is mapped from files in `folder`; of a side nothing is kept in memory.
    """

    keys: np.ndarray
    firsts: np.ndarray
    tokens: np.ndarray
    rows: np.ndarray
    folder: Path | None

    @classmethod
    def of(cls, reader: Reader, sides: Sides, folder: Path | None = None) -> "Workload":
        """Look at every side once. Raises DataError for one that the reader cannot read."""
        records = _sorted_records(reader, sides, folder)
        rows = scratch(folder, len(sides), np.int32)
        contents = records[: _keep_distinct(records, rows)]
        return cls(keys=contents["key"], firsts=contents["first"], tokens=contents["tokens"], rows=rows, folder=folder)

    def batches(self) -> "Batches":
        """Contents of similar length in batches of at most `BATCH_TOKENS` (a longer one is alone), shortest first.

        They are cut before anybody asks what is there already, so a stopped run, or one of other ranks, has the same.
        """
        return Batches(self)


def _sorted_records(reader: Reader, sides: Sides, folder: Path | None) -> np.ndarray:
    """The record of every side (N,)."""

    def record(number: int) -> tuple[bytes, int, int]:
        side = sides[number]
        reading = reader.reading(side)
        return key_of(side, reading), number, reading.tokens

    records = scratch(folder, len(sides), _RECORD)
    for part in parts(len(sides)):
        numbers = range(part.start, part.stop)
        records[part] = np.fromiter(map(record, numbers), dtype=_RECORD, count=len(numbers))
    records.view(f"S{_RECORD.itemsize}").sort()
    return records


def _keep_distinct(records: np.ndarray, rows: np.ndarray) -> int:
    """Move the first record of each key to the front, fill in `rows`, and tell how many there are."""
    count, last = 0, None
    for part in parts(len(records)):
        found = np.array(records[part])
        keys = found["key"]
        begins = np.concatenate([[keys[0] != last], keys[1:] != keys[:-1]])
        rows[found["first"]] = np.cumsum(begins) + (count - 1)
        kept = found[begins]
        records[count : count + len(kept)] = kept
        count, last = count + len(kept), keys[-1]
    return count


class Batches:
    """Batches (n,) of numbers of contents, which are looked up when a batch is asked for."""

    def __init__(self, work: Workload) -> None:
        self._rows = work.rows
        self._order = scratch(work.folder, len(work.keys), np.uint64)
        for part in parts(len(self._order)):
            self._order[part] = work.tokens[part].astype(np.uint64) << _SIDE_BITS | work.firsts[part]
        self._order.sort()
        self._ends = filled(scratch(work.folder, len(self._order), np.int64), self._cuts())

    def _cuts(self) -> Iterator[int]:
        begin, end, room = 0, 0, BATCH_TOKENS
        for part in parts(len(self._order)):
            for tokens in (self._order[part] >> _SIDE_BITS).tolist():
                sides = end - begin
                if sides and (tokens > room or sides == BATCH_SIDES):
                    yield end
                    begin, room = end, BATCH_TOKENS
                end, room = end + 1, room - tokens
        if end:
            yield end

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, number: int) -> np.ndarray:
        return np.array(self._rows[self._part(number) & (2**_SIDE_BITS - 1)])

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(self.__getitem__, range(len(self)))

    def tokens(self, number: int) -> int:
        """Those of a batch."""
        return int((self._part(number) >> _SIDE_BITS).sum())

    def longer_than(self, tokens: int) -> tuple[int, int]:
        """How many contents have more tokens, and how many the longest of all has."""
        count = len(self._order) - int(np.searchsorted(self._order, np.uint64(tokens + 1 << _SIDE_BITS)))
        return count, int(self._order[-1]) >> _SIDE_BITS if count else 0

    def _part(self, number: int) -> np.ndarray:
        return np.array(self._order[self._ends[number - 1] if number else 0 : self._ends[number]])
