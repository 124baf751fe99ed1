"""Side files of references: whole or refused, joined to rows by their number in the source."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.keys import make_key
from pipeline.data.references import (
    SCHEMA,
    VERDICT_SCHEMA,
    References,
    read_references,
    references_file,
    verdicts_file,
    write_references,
)
from pipeline.data.shards import ShardIndex
from pipeline.errors import DataError
from pipeline.sample import Sample, Side
from tests.shards import write_shards


@pytest.fixture
def index(tmp_path: Path) -> ShardIndex:
    """Two datasets of three pairs."""
    for name in ("first", "second"):
        samples = [
            Sample(key=make_key(name, row), dataset=name, query=Side(text=f"q{row}"), positive=Side(text=f"p{row}"))
            for row in range(3)
        ]
        write_shards(samples, tmp_path / "shards", dataset=name, kind="pairs")
    return ShardIndex.open(tmp_path / "shards")


def table(*rows: tuple[int, int, int]) -> pa.Table:
    """(row, rank, candidate) of positives."""
    return pa.Table.from_pylist(
        [{"row": row, "rank": rank, "candidate": other, "side": 1, "similarity": 0.5} for row, rank, other in rows], SCHEMA
    )


def test_references_are_rows_of_the_corpus_in_the_order_of_their_ranks(index: ShardIndex, tmp_path: Path) -> None:
    out = tmp_path / "mined"
    out.mkdir()
    write_references(references_file(out, "second"), table((0, 1, 2), (2, 3, 0), (2, 4, 1)))
    found, again = References.open(out, index), References.open(out, index)
    assert found.fingerprint == again.fingerprint
    assert [found.of(row) for row in range(6)] == [[], [], [], [(5, 1)], [], [(3, 1), (4, 1)]]
    write_references(references_file(out, "first"), table((1, 1, 0)))
    both = References.open(out, index)
    assert [both.of(row) for row in range(6)] == [[], [(0, 1)], [], [(5, 1)], [], [(3, 1), (4, 1)]]
    assert both.fingerprint != found.fingerprint


def test_what_a_judge_said_yes_to_is_found_beside_what_it_said_no_to(index: ShardIndex, tmp_path: Path) -> None:
    """Of the second set: no, yes, yes, and no verdict; the first was not judged."""
    out = tmp_path / "judged"
    path = verdicts_file(out, "second")
    path.parent.mkdir(parents=True)
    said = table((0, 1, 2), (0, 2, 1), (2, 1, 0), (2, 2, 1))
    pq.write_table(said.append_column(VERDICT_SCHEMA.field("margin"), pa.array([-1.0, 0.5, 2.0, None], pa.float32())), path)
    assert [References.open_right(out, index).of(row) for row in range(6)] == [[], [], [], [(4, 1)], [], [(3, 1)]]
    write_references(path, said)
    with pytest.raises(DataError, match=r"second\.parquet: is not a file of a judge's verdicts; run crem judge again"):
        References.open_right(out, index)


def test_what_is_damaged_or_of_another_form_is_refused(index: ShardIndex, tmp_path: Path) -> None:
    path = references_file(tmp_path, "first")
    with pytest.raises(DataError, match=r"first\.parquet: is damaged or missing; mine the negatives again"):
        read_references(path)
    path.write_bytes(b"PAR1 half a file")
    with pytest.raises(DataError, match="is damaged or missing"):
        read_references(path)
    with pytest.raises(DataError, match=r"a table of row; references have row, rank, candidate, side, similarity"):
        write_references(path, pa.table({"row": [1]}))
    write_references(path, table((2, 1, 0), (0, 1, 1)))
    with pytest.raises(DataError, match="its rows are not in order"):
        References.open(tmp_path, index)
