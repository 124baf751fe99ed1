"""Rotated questions: a question is right when all its rotations are, and one that lost a rotation is out of the count."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from eval.benchmarks.benchmark import BenchmarkScores
from eval.benchmarks.registry import BY_NAME
from eval.option_matcher import DEFAULT_MATCHER, option_matcher
from eval.question_files import read_questions
from eval.verdicts import Rules
from pipeline.errors import DataError
from tests.eval.test_tsv import COLUMNS, row, write

RULES = Rules(matcher=option_matcher(DEFAULT_MATCHER))


def scores(path: Path, said: Sequence[str]) -> BenchmarkScores:
    """The scores of a file whose asked rows are answered in order."""
    table = read_questions(path)
    benchmark = BY_NAME[table.benchmark]
    return benchmark.scores([benchmark.verdict(row, text, RULES) for row, text in zip(table.rows, said, strict=True)], table)


def test_circular_groups(tmp_path: Path) -> None:
    # question 7: one rotation wrong; 8: all right; 9: its unrotated row is not there; 10: alone and right
    indices = ("7", "1000007", "2000007", "8", "1000008", "1000009", "10")
    path = write(tmp_path / "t.tsv", [row(index, options=("red", "green", "blue")) for index in indices])
    found = scores(path, ["A", "A", "nothing", "A", "A", "A", "A"])
    score = found.headline.score
    assert score is not None
    assert (score.value, score.count, found.headline.of) == (pytest.approx(2 / 3), 3, 4)
    assert score.chance == pytest.approx((1 / 27 + 1 / 9 + 1 / 3) / 3)
    assert found.notes == ("1 questions lack their unrotated row, and are out of the circular count",)
    assert found.table == {"none": {"Overall": pytest.approx(2 / 3), "kind": pytest.approx(2 / 3)}}


def test_circular_groups_by_their_own_column(tmp_path: Path) -> None:
    rows = [[*row(str(number)), group] for number, group in enumerate("xxyy")]
    headline = scores(write(tmp_path / "t.tsv", rows, (*COLUMNS, "g_index")), ["A", "A", "A", "B"]).headline
    assert headline.score is not None
    assert (headline.score.value, headline.score.count) == (0.5, 2)


def test_a_question_that_lost_a_rotation_is_out_of_the_count_and_said(tmp_path: Path) -> None:
    """A damaged picture must not make a question easier: its last rotation would have been wrong."""
    rows = [row(index) for index in ("1", "2", "1000001", "1000002")]
    rows[3] = row("1000002", image="*" * 99)
    found = scores(write(tmp_path / "t.tsv", rows), ["A", "A", "B"])
    assert found.headline.score is not None
    assert (found.headline.score.value, found.headline.score.count, found.headline.of) == (0.0, 1, 2)
    assert found.notes == ("1 questions lost a rotation or more, and are out of the circular count",)


@pytest.mark.parametrize("odd", ["x1000002", "1000002a", "-5", "²"])
def test_one_odd_index_among_rotations_is_refused(tmp_path: Path, odd: str) -> None:
    """Else the circular figure would be gone without a word."""
    path = write(tmp_path / "t.tsv", [row(index) for index in ("1", "2", "1000001", odd)])
    with pytest.raises(DataError, match=rf"t\.tsv: index '{odd}' is no number, and others are rotations"):
        read_questions(path)


def test_a_missing_group_among_groups_is_refused(tmp_path: Path) -> None:
    rows = [[*row("1"), "1"], [*row("2"), ""]]
    with pytest.raises(DataError, match=r"index 2 has no g_index, and others have"):
        read_questions(write(tmp_path / "t.tsv", rows, (*COLUMNS, "g_index")))


def test_indices_written_as_real_numbers_are_mended(tmp_path: Path) -> None:
    """A table program wrote them; groups, pointers and the names of answers are those of whole numbers."""
    rows = [row(f"{index}.0") for index in (1, 2, 1000001, 1000002)]
    rows[2][-1] = "1.0"
    path = write(tmp_path / "t.tsv", rows)
    assert [item.index for item in read_questions(path).rows] == ["1", "2", "1000001", "1000002"]
    headline = scores(path, ["A", "A", "A", "B"]).headline
    assert headline.score is not None and (headline.name, headline.score.value) == ("all rotations right", 0.5)
    with pytest.raises(DataError, match="index 1 stands twice"):
        read_questions(write(tmp_path / "u.tsv", [row("1"), row("1.0")]))


@pytest.mark.parametrize("indices", [("1", "2", "3"), ("a", "1", "1000001"[:3]), ("5", "1000006")])
def test_without_rotations_the_headline_is_over_rows(tmp_path: Path, indices: tuple[str, ...]) -> None:
    found = scores(write(tmp_path / "t.tsv", [row(index) for index in indices]), ["A"] * len(indices))
    assert (found.headline.name, found.headline.unit) == ("accuracy", "rows")
