"""How long every row of a corpus is in tokens: a side table beside the shards, made once for a tokenizer and its settings.

It says which rows fit a recipe's `max_length` before a step needs one of them, and what a row costs when rows are dealt to ranks.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import DataError
from pipeline.manifest import write_atomic

logger = logging.getLogger(__name__)

_COUNTS = pa.list_(pa.int32())
SCHEMA = pa.schema(
    [("key", pa.string()), ("tokens", _COUNTS), ("needed", _COUNTS), ("visual", _COUNTS), ("problem", pa.string())]
)
"""One row for each row of the index, in its order; a list has one entry for each of `Sample.sides`."""

NEVER_FITS = 2**31 - 1
"""`needed` of a row that cannot become tokens at all; `problem` says why."""

IntArray = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lengths:
    """Counts of sides (S,) int32, those of row i from `starts[i]` to `starts[i + 1]`.

    `tokens` is the whole sequence with the side's own turns, `needed` the part that is never cut (context with its template,
    compression tokens, and for a conversation the first question and one token of its answer), `visual` the visual tokens that
    the tower sees, before any are left out.
    """

    starts: IntArray
    tokens: IntArray
    needed: IntArray
    visual: IntArray
    problems: dict[int, str]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.starts) - 1

    def fits(self, max_length: int) -> npt.NDArray[np.bool_]:
        """Which rows (N,) have a query and, if any, a positive that need at most `max_length` tokens."""
        query, last = self.starts[:-1], self.starts[1:] - 1
        positive = np.minimum(query + 1, last)
        fits: npt.NDArray[np.bool_] = np.maximum(self.needed[query], self.needed[positive]) <= max_length
        return fits

    def context(self, row: int, side_index: int) -> int:
        """Tokens of a side that are never cut."""
        return int(self.needed[self.starts[row] + side_index])

    def size(self, row: int, side_index: int) -> tuple[int, int]:
        """Tokens of a side's whole sequence, and visual ones that its pictures have before any are left out."""
        side = self.starts[row] + side_index
        return int(self.tokens[side]), int(self.visual[side])

    def cost(self, row: int, side_index: int) -> float:
        """What a side costs a rank: its tokens, and the visual ones once more, since these pass the vision tower as well."""
        return float(sum(self.size(row, side_index)))


def read_lengths(path: Path, num_rows: int) -> Lengths:
    """The table of a file. Raises DataError when it is missing, damaged or has another number of rows."""
    try:
        table = pq.ParquetFile(path, memory_map=True).read(columns=[*SCHEMA.names[1:]])
        lists = {name: table.column(name).combine_chunks() for name in ("tokens", "needed", "visual")}
        problems = table.column("problem").combine_chunks()
    except (pa.ArrowException, OSError, KeyError) as error:
        raise DataError(f"{path}: is missing or damaged; crem train makes it anew") from error
    if len(table) != num_rows:
        raise DataError(f"{path}: has {len(table)} rows and the shards have {num_rows}; crem train makes it anew")
    bad = np.flatnonzero(problems.is_valid().to_numpy(zero_copy_only=False))
    return Lengths(
        starts=lists["tokens"].offsets.to_numpy(),
        **{name: column.values.to_numpy() for name, column in lists.items()},
        problems={int(row): problems[int(row)].as_py() for row in bad},
    )


def count_left_out(lengths: Lengths, table: Path, cap: int) -> dict[str, int]:
    """Count and list the rows that pass the cap; returns what is worth noting."""
    count = int((~lengths.fits(cap)).sum())
    listed = table.with_name(f"{table.stem}-over-{cap}.jsonl")
    if write_left_out(listed, table, lengths, cap):
        message = "%d of %d rows are left out, most for passing max_length = %d; they are listed, with hard negatives, in %s"
        logger.warning(message, count, len(lengths), cap, listed)
    return {"rows": len(lengths), "rows_over_max_length": count}


def write_left_out(path: Path, table: Path, lengths: Lengths, max_length: int) -> int:
    """List what does not fit `max_length`, one JSON line with key and reason each, if there is any; returns their number."""
    found = list(left_out(lengths, max_length))
    if found:
        keys = pq.ParquetFile(table, memory_map=True).read(columns=["key"]).column("key")
        lines = [json.dumps({"key": keys[row].as_py(), "reason": reason}) for row, reason in found]
        write_atomic(path, "".join(line + "\n" for line in lines))
    return len(found)


def left_out(lengths: Lengths, max_length: int) -> Iterator[tuple[int, str]]:
    """Rows, and hard negatives of rows, that training leaves out, with the reason."""
    owners = np.repeat(np.arange(len(lengths)), np.diff(lengths.starts))
    for side in np.flatnonzero(lengths.needed > max_length):
        row = int(owners[side])
        side_index = int(side - lengths.starts[row])
        name = ("query", "positive")[side_index] if side_index < 2 else f"hard negative {side_index - 1}"
        counts = f"{lengths.needed[side]} tokens (the tower sees {lengths.visual[side]}), more than max_length = {max_length}"
        yield row, lengths.problems.get(row) or f"{name} needs {counts}"
