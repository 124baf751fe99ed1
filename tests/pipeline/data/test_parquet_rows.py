from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data import parquet_rows
from pipeline.data.parquet_rows import Columns, count_rows, read_rows
from pipeline.errors import DataError
from tests.pipeline.data.releases import write_table

COLUMNS = Columns(texts=("a", "b"), lists=("many",), pictures=("seen",), optional=("b", "seen"))

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write(path: Path, values: list[Any], **options: Any) -> Path:
    write_table(path, [{"a": value, "many": [value, ""]} for value in values], **options)
    return path


def test_rows_of_files_in_order_with_their_places(tmp_path: Path) -> None:
    files = [write(tmp_path / "one", ["x", "y", "z"], row_group_size=2), write(tmp_path / "two", ["w"])]
    rows = list(read_rows(files, COLUMNS))
    assert [(row.file.name, row.row, row.values["a"], row.values["many"]) for row in rows] == [
        ("one", 0, "x", ["x", ""]),
        ("one", 1, "y", ["y", ""]),
        ("one", 2, "z", ["z", ""]),
        ("two", 0, "w", ["w", ""]),
    ]
    assert count_rows(files) == 4


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.string_view()])
def test_every_way_to_store_text_is_text(tmp_path: Path, kind: pa.DataType) -> None:
    table = pa.table({"a": pa.array(["x", "y"]).cast(kind), "many": pa.array([["x"], []])})
    pq.write_table(table, tmp_path / "file")
    assert [row.values["a"] for row in read_rows([tmp_path / "file"], COLUMNS)] == ["x", "y"]


@pytest.mark.parametrize(
    "stored",
    [
        pa.array([b"x", None, b"y"]),
        pa.array([b"x", None, b"y"]).cast(pa.large_binary()),
        pa.array([{"bytes": b"x", "path": "p"}, {"bytes": None, "path": None}, {"bytes": b"y", "path": None}]),
    ],
    ids=["bytes", "large bytes", "as datasets.Image writes them"],
)
def test_pictures_may_stand_in_the_table(tmp_path: Path, stored: pa.Array) -> None:
    table = pa.table({"a": ["1", "2", "3"], "many": pa.array([["x"]] * 3), "seen": stored})
    pq.write_table(table, tmp_path / "file")
    assert [row.values["seen"] for row in read_rows([tmp_path / "file"], COLUMNS)] == [b"x", None, b"y"]


def test_a_struct_without_bytes_is_a_path(tmp_path: Path) -> None:
    table = pa.table({"a": ["1"], "many": [["x"]], "seen": pa.array([{"bytes": None, "path": "p"}])})
    pq.write_table(table.cast(table.schema.set(2, pa.field("seen", PICTURE))), tmp_path / "file")
    assert [row.values["seen"] for row in read_rows([tmp_path / "file"], COLUMNS)] == ["p"]


def test_a_damaged_page_costs_its_row_group(tmp_path: Path) -> None:
    words = [f"word{number}" for number in range(30)]
    path = write(tmp_path / "file", words, row_group_size=10, write_page_checksum=True, compression="none")
    content = bytearray(path.read_bytes())
    content[content.index(b"word15")] ^= 1
    path.write_bytes(content)
    rows = list(read_rows([path], COLUMNS))
    assert [row.row for row in rows] == list(range(30))
    assert [row.row for row in rows if row.problem] == list(range(10, 20))
    assert all("row group 1 is damaged" in row.problem for row in rows if row.problem)
    assert [row.values["a"] for row in rows if not row.problem] == [f"word{n}" for n in (*range(10), *range(20, 30))]


def test_bytes_that_are_not_utf8_cost_their_row(tmp_path: Path) -> None:
    texts = pa.Array.from_buffers(pa.string(), 3, pa.array([b"good", b"b\xe9d", b"good"]).buffers())
    pq.write_table(pa.table({"a": texts, "many": pa.array([["x"]] * 3)}), tmp_path / "file")
    rows = list(read_rows([tmp_path / "file"], COLUMNS))
    assert [bool(row.problem) for row in rows] == [False, True, False]
    assert "column a is not valid UTF-8" in rows[1].problem


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"many": [["x"]]}, "column a is missing"),
        ({"a": [1], "many": [["x"]]}, "column a holds int64, not texts"),
        ({"a": ["x"], "many": ["x"]}, "column many holds string, not lists of texts"),
        ({"a": ["x"], "many": [[1]]}, "column many holds list<.*>, not lists of texts"),
        ({"a": ["x"], "many": [["x"]], "b": [1.0]}, "column b holds double, not texts"),
        ({"a": ["x"], "many": [["x"]], "seen": [1.0]}, "column seen holds double, not paths or pictures"),
        ({"a": ["x"], "many": [["x"]], "seen": [{"bytes": b"x"}]}, "column seen holds struct<.*>, not paths or pictures"),
    ],
)
def test_wrong_columns_are_one_line(tmp_path: Path, table: dict[str, Any], complaint: str) -> None:
    pq.write_table(pa.table(table), tmp_path / "file")
    with pytest.raises(DataError, match=complaint) as caught:
        list(read_rows([tmp_path / "file"], COLUMNS))
    assert str(tmp_path / "file") in str(caught.value)


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    texts = pa.array(["x"])
    pq.write_table(pa.Table.from_arrays([texts, texts, pa.array([["x"]])], names=["a", "a", "many"]), tmp_path / "file")
    with pytest.raises(DataError, match="column a stands in it twice"):
        list(read_rows([tmp_path / "file"], COLUMNS))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1 nothing of the sort PAR1", None])
def test_unreadable_files_are_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "file"
    if content is None:
        path = write(path, ["x"] * 100)
        path.write_bytes(path.read_bytes()[:-20])
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match="not a readable parquet file") as caught:
        list(read_rows([path], COLUMNS))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="file: missing"):
        list(read_rows([tmp_path / "file"], COLUMNS))


def test_rows_that_the_file_could_not_hold_are_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "file", ["x"] * 5000, compression="zstd")
    assert path.stat().st_size < 5000
    assert len(list(read_rows([path], COLUMNS))) == 5000
    monkeypatch.setattr(parquet_rows, "FEW_ROWS", 100)
    with pytest.raises(DataError, match="its footer claims 5000 rows, more than it has bytes"):
        count_rows([path])


def test_texts_that_would_unpack_beyond_the_limit_cost_their_row_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "file", ["x", "y" * 10_000, "z"], row_group_size=1)
    monkeypatch.setattr(parquet_rows, "MAX_GROUP_BYTES", 10_000)
    rows = list(read_rows([path], COLUMNS))
    assert [row.row for row in rows] == [0, 1, 2]
    assert [bool(row.problem) for row in rows] == [False, True, False]
    assert "would unpack to" in rows[1].problem
