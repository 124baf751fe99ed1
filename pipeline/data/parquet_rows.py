"""Rows of parquet files, one at a time and checked against the columns that a reader needs.

A damaged page costs the rest of its row group; a damaged footer or a missing column is an error of the whole file.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.row_ranges import EVERY_ROW, RowRanges
from pipeline.errors import DataError

BATCH_ROWS = 256

_PARQUET_ERRORS = (pa.ArrowException, OSError)
_NOT_UTF8 = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class ParquetRow:
    """`values` of the wanted columns (None for a missing optional one); where they are unreadable, `problem` says why.

    `row` is its number in the file, `number` that in all files.
    """

    file: Path
    row: int
    number: int
    values: dict[str, Any]
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """What a reader needs: columns of texts, columns of lists of texts, and columns of texts that may be missing."""

    texts: tuple[str, ...]
    lists: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    def check(self, schema: pa.Schema, file: Path) -> list[str]:
        """Names of the wanted columns that the file has. Raises DataError for a missing column or a wrong type."""
        present = set(schema.names)
        for name in (*self.texts, *self.lists):
            if schema.names.count(name) > 1:
                raise DataError(f"{file}: column {name} stands in it twice; is this the right file?")
            if name not in present:
                raise DataError(f"{file}: column {name} is missing (it has {', '.join(schema.names)}); is this the right file?")
        wanted = [name for name in (*self.texts, *self.lists, *self.optional) if name in present]
        for name in wanted:
            kind = schema.field(name).type
            if name in self.lists and not pa.types.is_null(kind):
                kind = kind.value_type if pa.types.is_list(kind) or pa.types.is_large_list(kind) else pa.int8()
            if not _is_text(kind):
                expected = "lists of texts" if name in self.lists else "texts"
                raise DataError(f"{file}: column {name} holds {schema.field(name).type}, not {expected}; is this the right file?")
        return wanted


def count_rows(files: Sequence[Path]) -> int:
    """Rows that the files have in all, from their footers."""
    return sum(_open(file).metadata.num_rows for file in files)


def read_rows(files: Sequence[Path], columns: Columns, rows: RowRanges = EVERY_ROW) -> Iterator[ParquetRow]:
    """The asked rows of some files in order; row groups without one are not read. Raises DataError for an unusable file."""
    before = 0
    for file in files:
        if before >= rows.stop:
            return
        parquet = _open(file)
        wanted = columns.check(parquet.schema_arrow, file)
        first = 0
        for number in range(parquet.num_row_groups):
            group = _Group(parquet, file, number=number, first=first, before=before)
            if rows.meet(range(before + first, before + first + group.rows)):
                yield from group.read(wanted, rows)
            first += group.rows
        before += first


class _Group:
    """A row group: `first` is the number of its first row in the file, `before` the number of rows in earlier files."""

    def __init__(self, parquet: pq.ParquetFile, file: Path, *, number: int, first: int, before: int) -> None:
        self._parquet, self._file, self._number, self._first, self._before = parquet, file, number, first, before
        self.rows: int = parquet.metadata.row_group(number).num_rows

    def read(self, wanted: list[str], rows: RowRanges) -> Iterator[ParquetRow]:
        """The asked rows of the group."""
        done = self._first
        try:
            for batch in self._parquet.iter_batches(batch_size=BATCH_ROWS, row_groups=[self._number], columns=wanted):
                if not rows.meet(range(self._before + done, self._before + done + batch.num_rows)):
                    done += batch.num_rows
                    continue
                values = {name: _values(batch.column(name)) for name in batch.schema.names}
                for place in range(batch.num_rows):
                    if self._before + done + place in rows:
                        yield self._row(values, place, done + place)
                done += batch.num_rows
            problem = "its row group has fewer rows than the file's footer says"
        except _PARQUET_ERRORS as error:
            problem = f"its row group {self._number} is damaged ({_first_line(error)})"
        for row in range(done, self._first + self.rows):
            if self._before + row in rows:
                yield self._made(row, {}, problem)

    def _row(self, columns: dict[str, list[Any]], place: int, row: int) -> ParquetRow:
        values = {name: column[place] for name, column in columns.items()}
        for name, value in values.items():
            if value is _NOT_UTF8:
                return self._made(row, {}, f"column {name} is not valid UTF-8")
        return self._made(row, values)

    def _made(self, row: int, values: dict[str, Any], problem: str = "") -> ParquetRow:
        return ParquetRow(file=self._file, row=row, number=self._before + row, values=values, problem=problem)


def _values(column: pa.Array) -> list[Any]:
    """The values of a column; one that is not valid UTF-8 becomes a mark, and costs its row."""
    try:
        return column.to_pylist()  # type: ignore[no-any-return]
    except UnicodeDecodeError:
        return [_value(scalar) for scalar in column]


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return _NOT_UTF8


def _open(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file, page_checksum_verification=True)
    except FileNotFoundError as error:
        raise DataError(f"{file}: missing; check the path") from error
    except _PARQUET_ERRORS as error:
        raise DataError(f"{file}: not a readable parquet file ({_first_line(error)}); download it again") from error


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    return any(test(kind) for test in tests)


def _first_line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0].strip(" .")
