import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data import json_array
from pipeline.data.json_array import read_array
from pipeline.errors import DataError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(VALUES, max_size=6), st.integers(1, 9), st.sampled_from([None, 1]))
def test_it_reads_what_json_reads(
    tmp_path_factory: pytest.TempPathFactory, rows: list[object], chunk: int, indent: int | None
) -> None:
    path = tmp_path_factory.mktemp("array") / "rows.json"
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=indent), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_array, "CHUNK", chunk)
        assert list(read_array(path)) == rows


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(b"\xef\xbb\xbf [1]\n")
    assert list(read_array(path)) == [1]


def test_rows_before_a_break_still_come(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('[{"a": 1}, {"a": ')
    rows = read_array(path)
    assert next(rows) == {"a": 1}
    with pytest.raises(DataError, match=r"rows\.json: is broken or cut short near character 11"):
        next(rows)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"a": []}',
        '{"a": 1} 2 {',
        '{"a": 1}, {"a": 2}',
        "[",
        "[1",
        "[1,",
        "[1 2]",
        "[1,]",
        "[,]",
        "null",
        "[" * 200_000,
        '["\x01"]',
        "[" + "9" * 5000 + "]",
    ],
)
def test_broken_files_are_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        list(read_array(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_row_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_array, "MAX_ROW", 1000)
    monkeypatch.setattr(json_array, "CHUNK", 100)
    path = tmp_path / "rows.json"
    path.write_text('["' + "x" * 10_000 + '"]')
    with pytest.raises(DataError, match="broken or cut short"):
        list(read_array(path))


def test_bytes_that_are_not_utf8_cost_their_row_only(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(b'["good", "b\xe9d", "good"]')
    assert list(read_array(path)) == ["good", "b\udce9d", "good"]


def test_json_lines_are_read_and_a_list_in_an_object_is_not(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('\n{"a": 1}\n\n{"a": 2}\r\n[3]')
    assert list(read_array(path)) == [{"a": 1}, {"a": 2}, [3]]
    path.write_text(json.dumps({"data": [1], "info": 2}, indent=1))
    with pytest.raises(DataError, match=r"rows\.json: is not a list of rows but one object with 'data', 'info'; keep the list"):
        list(read_array(path))
    path.rename(tmp_path / "rows.jsonl")
    assert len(list(read_array(tmp_path / "rows.jsonl"))) == 1


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json: cannot be read"):
        list(read_array(tmp_path / "none.json"))
