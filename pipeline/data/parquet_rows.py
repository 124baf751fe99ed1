"""Rows of parquet files, one at a time and checked against the columns that a reader needs.

A damaged page costs the rest of its row group; a damaged footer or a missing column is an error of the whole file. What a
footer claims is believed only as far as the file could hold it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.release_files import one_line, unusable
from pipeline.data.row_ranges import EVERY_ROW, RowRanges
from pipeline.errors import DataError

BATCH_ROWS = 256
PICTURE_BATCH_ROWS = 8
"""Rows decoded at a time where pictures stand in the table itself: each may have a hundred megabytes."""

MAX_GROUP_BYTES = 2**30
"""Unpacked bytes that the texts of one row group may declare: real row groups have a tenth of it."""

FEW_ROWS = 2**16
"""Rows that a file of any size may claim; beyond it a row is taken to need a byte of the file."""

READ_BUFFER = 2**20

_PARQUET_ERRORS = (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError)
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
    """What a reader needs: columns of texts, of pictures, and of lists of either; those in `optional` may be missing.

    A picture is a text (its path), bytes, or what `datasets.Image` writes: a struct of `bytes` and `path`. Texts may be large,
    views or dictionaries; lists also fixed in size, large or views. Where `passed_over` is given, a column that is neither wanted
    nor in it is refused, and `advice` says what to do.
    """

    texts: tuple[str, ...] = ()
    texts_or_lists: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()
    picture_lists: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    passed_over: tuple[str, ...] | None = None
    advice: str = ""

    def check(self, schema: pa.Schema, file: Path) -> list[str]:
        """Names of the wanted columns that the file has. Raises DataError for a missing column or a wrong type."""
        tests = dict.fromkeys(self.pictures, _is_picture) | dict.fromkeys(self.texts, _is_text)
        tests |= dict.fromkeys(self.texts_or_lists, _is_text_or_texts)
        tests |= dict.fromkeys(self.lists, _is_texts) | dict.fromkeys(self.picture_lists, _is_pictures)
        for name, test in tests.items():
            if schema.names.count(name) > 1:
                raise DataError(f"{file}: column {name} stands in it twice; is this the right file?")
            if name not in schema.names and name not in self.optional:
                raise DataError(f"{file}: column {name} is missing (it has {', '.join(schema.names)}); is this the right file?")
            if name in schema.names and not test(schema.field(name).type):
                kind, expected = schema.field(name).type, _EXPECTED[test]
                raise DataError(f"{file}: column {name} holds {kind}, not {expected}; is this the right file?")
        unknown = [name for name in schema.names if name not in tests and name not in (self.passed_over or ())]
        if unknown and self.passed_over is not None:
            raise DataError(f"{file}: column {unknown[0]} is not read, and could change what is measured; {self.advice}")
        return [name for name in tests if name in schema.names]


def count_rows(files: Sequence[Path]) -> int:
    """Rows that the files have in all, from their footers. Raises DataError as `read_rows`."""
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
        done, stop = self._first, self._first + self.rows
        try:
            for batch in self._batches(wanted):
                asked = rows.meet(range(self._before + done, self._before + done + batch.num_rows))
                columns = {name: _values(batch.column(name)) for name in batch.schema.names} if asked else {}
                for place in range(min(batch.num_rows, stop - done)):
                    if self._before + done in rows:
                        yield self._row(columns, place, done)
                    done += 1
            problem = "its row group has fewer rows than the file's footer says"
        except _PARQUET_ERRORS as error:
            problem = f"its row group {self._number} is damaged ({one_line(error)})"
        for row in range(done, stop):
            if self._before + row in rows:
                yield self._made(row, {}, problem)

    def _batches(self, wanted: list[str]) -> Iterator[pa.RecordBatch]:
        in_table = [name for name in wanted if _has_bytes(self._parquet.schema_arrow.field(name).type)]
        _refuse_bomb(self._parquet.metadata.row_group(self._number), set(wanted).difference(in_table))
        size = PICTURE_BATCH_ROWS if in_table else BATCH_ROWS
        yield from self._parquet.iter_batches(batch_size=size, row_groups=[self._number], columns=wanted)

    def _row(self, columns: dict[str, list[Any]], place: int, row: int) -> ParquetRow:
        values = {name: _plain(column[place]) for name, column in columns.items()}
        for name, value in values.items():
            if value is _NOT_UTF8:
                return self._made(row, {}, f"column {name} is not valid UTF-8")
        return self._made(row, values)

    def _made(self, row: int, values: dict[str, Any], problem: str = "") -> ParquetRow:
        return ParquetRow(file=self._file, row=row, number=self._before + row, values=values, problem=problem)


def _plain(value: Any) -> Any:
    """A struct of `bytes` and `path` becomes the bytes, or the path where there are none; in a list each does."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.get("bytes") or value.get("path") if isinstance(value, dict) else value


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
    if not file.exists():
        raise DataError(f"{file}: missing; check the path")
    try:
        parquet = pq.ParquetFile(file, page_checksum_verification=True, buffer_size=READ_BUFFER)
        names = parquet.schema_arrow.names
        groups = [parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)]
    except _PARQUET_ERRORS as error:
        raise unusable(file, f"not a readable parquet file ({one_line(error)})") from error
    rows = parquet.metadata.num_rows
    if sum(groups) != rows or min(groups, default=0) < 0 or not names:
        raise unusable(file, "not a readable parquet file (its footer contradicts itself)")
    if rows > max(FEW_ROWS, file.stat().st_size):
        raise unusable(file, f"its footer claims {rows} rows, more than it has bytes")
    return parquet


def _refuse_bomb(group: pq.RowGroupMetaData, wanted: set[str]) -> None:
    columns = (group.column(number) for number in range(group.num_columns))
    size = sum(column.total_uncompressed_size for column in columns if column.path_in_schema.split(".")[0] in wanted)
    if size > MAX_GROUP_BYTES:
        raise ValueError(f"its texts would unpack to {size} bytes, more than {MAX_GROUP_BYTES}")


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    return any(test(kind) for test in tests)


def _is_texts(kind: pa.DataType) -> bool:
    return bool(pa.types.is_null(kind)) or (_is_list(kind) and _is_text(kind.value_type))


def _is_text_or_texts(kind: pa.DataType) -> bool:
    return _is_text(kind) or _is_texts(kind)


def _is_pictures(kind: pa.DataType) -> bool:
    return bool(pa.types.is_null(kind)) or (_is_list(kind) and _is_picture(kind.value_type))


def _is_list(kind: pa.DataType) -> bool:
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in (*lists, pa.types.is_list_view, pa.types.is_large_list_view))


def _is_picture(kind: pa.DataType) -> bool:
    if not pa.types.is_struct(kind):
        return _is_text(kind) or _has_bytes(kind)
    fields = {kind.field(number).name: kind.field(number).type for number in range(kind.num_fields)}
    return set(fields) == {"bytes", "path"} and _is_binary(fields["bytes"]) and _is_text(fields["path"])


def _has_bytes(kind: pa.DataType) -> bool:
    return _has_bytes(kind.value_type) if _is_list(kind) else bool(pa.types.is_struct(kind)) or _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return any(test(kind) for test in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view))


_EXPECTED = {
    _is_text: "texts",
    _is_texts: "lists of texts",
    _is_text_or_texts: "texts or lists of texts",
    _is_picture: "paths or pictures",
    _is_pictures: "lists of paths or pictures",
}
