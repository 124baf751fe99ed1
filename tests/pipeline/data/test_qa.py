import os
from pathlib import Path

import pyarrow as pa
import pyarrow.feather as feather
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data import qa
from pipeline.data.keys import make_key
from pipeline.data.qa import QaEntry, QaTable, write_qa
from pipeline.errors import DataError
from pipeline.sample import Turn

TURNS = st.lists(st.builds(Turn, question=st.text(max_size=5), answer=st.text(max_size=5)), max_size=2).map(tuple)


def entry(row: int, **turns: tuple[Turn, ...]) -> QaEntry:
    return QaEntry(key=make_key("Toy", row), **(turns or {"query": (Turn(question=f"q{row}", answer="a"),)}))


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.integers(0, 40), st.tuples(TURNS, TURNS), max_size=12), st.integers(1, 4))
def test_turns_are_found_by_key(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[int, tuple[tuple[Turn, ...], ...]], batch: int
) -> None:
    folder = tmp_path_factory.mktemp("qa")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(qa, "BATCH_ROWS", batch)
        written = write_qa((entry(row, query=rows[row][0], positive=rows[row][1]) for row in sorted(rows)), folder, dataset="Toy")
    assert written == len(rows)
    table = QaTable.open(folder)
    for row in range(42):
        expected = rows.get(row, ((), ()))
        assert table.turns("Toy", make_key("Toy", row), "query") == expected[0]
        assert table.turns("Toy", make_key("Toy", row), "positive") == expected[1]
    told = [sum(1 for sides in rows.values() if sides[place]) for place in (0, 1)]
    assert table.shares("Toy") == ({"query": (told[0], len(rows)), "positive": (told[1], len(rows))} if rows else {})


def test_what_has_no_file_has_no_turns(tmp_path: Path) -> None:
    write_qa([entry(3)], tmp_path, dataset="Toy")
    assert QaTable.open(None).turns("Toy", make_key("Toy", 3), "query") == ()
    assert QaTable.open(tmp_path).turns("Other", make_key("Other", 3), "query") == ()
    assert QaTable.open(tmp_path).turns("Toy", make_key("Toy-2", 3), "query") == ()


def test_a_side_file_is_an_ordinary_arrow_file(tmp_path: Path) -> None:
    write_qa([entry(3), entry(7)], tmp_path, dataset="Toy-X")
    table = feather.read_table(tmp_path / "toy-x.arrow", memory_map=True)
    assert table.to_pylist()[1] == {
        "row": 7,
        "key": "toy-00000007",
        "query": [{"question": "q7", "answer": "a"}],
        "positive": [],
    }


def test_kinds_have_files_of_their_own_and_dialogues_turns_of_negatives(tmp_path: Path) -> None:
    first, second = (Turn(question="q1", answer="a1"), Turn(question="q2", answer="a2")), (Turn(question="q3", answer="a3"),)
    write_qa([entry(3)], tmp_path, dataset="Toy")
    before = (tmp_path / "toy.arrow").read_bytes(), QaTable.open(tmp_path).fingerprint
    write_qa([QaEntry(key=make_key("Toy", 3), query=first, negatives=((), second))], tmp_path, dataset="Toy", kind="dialogue")
    assert ((tmp_path / "toy.arrow").read_bytes(), QaTable.open(tmp_path).fingerprint) == before
    table, key = QaTable.open(tmp_path, kind="dialogue"), make_key("Toy", 3)
    sides = ("query", "positive", "negative_0", "negative_1", "negative_2")
    assert [table.turns("Toy", key, side) for side in sides] == [first, (), (), second, ()]
    assert QaTable.open(tmp_path).turns("Toy", key, "negative_1") == ()
    (tmp_path / "dialogue" / "toy.arrow").write_bytes(before[0])
    with pytest.raises(DataError, match="not a file of synthesized turns"):
        QaTable.open(tmp_path, kind="dialogue").turns("Toy", key, "query")
    with pytest.raises(DataError, match=r"dialogue: no such folder of synthesized turns of kind dialogue; run the synthesis"):
        QaTable.open(tmp_path / "dialogue", kind="dialogue")


def test_shares_count_each_negative_that_there_is(tmp_path: Path) -> None:
    turn = (Turn(question="q", answer="a"),)
    rows = [entry(0, negatives=((), turn, turn)), entry(1, query=turn), entry(2, positive=turn, negatives=((),))]
    write_qa(rows, tmp_path, dataset="Toy", kind="dialogue")
    shares = QaTable.open(tmp_path, "dialogue").shares("Toy")
    assert shares == {"query": (1, 3), "positive": (1, 3), "negatives": (2, 4)}
    assert qa.shares_text(shares) == "query 33.3%, positive 33.3%, negatives 50.0%"
    assert qa.shares_text(QaTable.open(tmp_path, "dialogue").shares("Other")) == "none"


def test_the_order_of_source_rows_is_kept_to(tmp_path: Path) -> None:
    for rows in ((3, 2), (3, 3)):
        with pytest.raises(AssertionError, match="source order"):
            write_qa([entry(row) for row in rows], tmp_path, dataset="Toy")
    assert not list(tmp_path.iterdir())


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """The file is mapped, so opening 40 MB of turns allocates next to nothing."""
    long = Turn(question="q", answer="a" * 20_000)
    write_qa((entry(row, query=(long,)) for row in range(2000)), tmp_path, dataset="Toy")
    assert os.path.getsize(tmp_path / "toy.arrow") > 40_000_000
    before = pa.total_allocated_bytes()
    table = QaTable.open(tmp_path)
    assert table.turns("Toy", make_key("Toy", 1999), "query") == (long,)
    assert pa.total_allocated_bytes() - before < 1_000_000


def test_the_fingerprint_follows_the_content(tmp_path: Path) -> None:
    prints = [QaTable.open(None).fingerprint, QaTable.open(tmp_path).fingerprint]
    assert prints[0] == prints[1]
    for row in (3, 4, 3):
        write_qa([entry(row)], tmp_path, dataset="Toy")
        prints.append(QaTable.open(tmp_path).fingerprint)
    assert prints[2] == prints[4]
    assert len(set(prints)) == 3


def test_damage_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder of synthesized turns"):
        QaTable.open(tmp_path / "none")
    path = tmp_path / "toy.arrow"
    write_qa([entry(3)], tmp_path, dataset="Toy")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"toy\.arrow: is damaged; run the synthesis again"):
        QaTable.open(tmp_path).turns("Toy", make_key("Toy", 3), "query")
    feather.write_feather(pa.table({"x": [1]}), path)
    with pytest.raises(DataError, match="not a file of synthesized turns"):
        QaTable.open(tmp_path).turns("Toy", make_key("Toy", 3), "query")
