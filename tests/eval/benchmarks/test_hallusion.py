"""HallusionBench's three figures and their mean, worked by hand; files that would merge or lose them."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from eval.question_files import read_questions
from pipeline.errors import DataError
from tests.eval.benchmarks.test_rotations import scores
from tests.eval.fakes import png
from tests.eval.test_tsv import coded, write

COLUMNS = ("index", "category", "l2-category", "image", "question", "answer")
TABLE = [
    # set 1: figure 0 right and wrong, figure 1 all three right
    ("VD_math_1_1_0_0", "yes", True),
    ("VD_math_1_1_0_1", "yes", False),
    ("VD_math_1_1_1_0", "yes", True),
    ("VD_math_1_1_1_1", "yes", True),
    ("VD_math_1_1_1_2", "no", False),
    # set 2: one figure, one question; the same numbers in another sub-category are another figure
    ("VD_math_1_2_0_0", "yes", True),
    ("VS_table_1_1_0_0", "yes", False),
    ("VD_chart_1_1_0_0", "yes", False),
]
PICTURE = coded(png((9, 9, 9)))


def rows(table: Sequence[tuple[str, str, bool]] = TABLE) -> list[list[str]]:
    return [
        [index, index[:2], "_".join(index.split("_")[:2]), PICTURE, "Is it?", "Yes" if is_right else "No"]
        for index, _, is_right in table
    ]


def test_hand_worked(tmp_path: Path) -> None:
    found = scores(write(tmp_path / "HallusionBench_small.tsv", rows(), COLUMNS), [said for _, said, _ in TABLE])
    whole = found.table["Overall"]
    assert whole["aAcc"] == pytest.approx(5 / 8)
    # right: (math 1 1), (math 2 0); wrong: (math 1 0), (table 1 0), (chart 1 0)
    assert whole["fAcc"] == pytest.approx(2 / 5)
    # right: (math 1 0), (math 1 2), (math 2 0); wrong: (math 1 1), (table 1 0), (chart 1 0)
    assert whole["qAcc"] == pytest.approx(3 / 6)
    assert whole["mean"] == pytest.approx((5 / 8 + 2 / 5 + 3 / 6) / 3)
    assert list(found.table) == ["Overall", "VD", "VS", "VD_chart", "VD_math", "VS_table"]
    assert found.table["VD_math"] == pytest.approx(
        {"aAcc": 5 / 6, "fAcc": 2 / 3, "qAcc": 3 / 4, "mean": (5 / 6 + 2 / 3 + 3 / 4) / 3}
    )
    assert found.table["VS"] == {"aAcc": 0, "fAcc": 0, "qAcc": 0, "mean": 0}
    headline = found.headline
    assert headline.score is not None
    assert (headline.name, headline.score.value) == ("mean of aAcc, fAcc, qAcc", whole["mean"])
    assert headline.score.low <= whole["mean"] <= headline.score.high
    # figures of 2, 3, 1, 1, 1 rows; pairs of 2, 2, 1, 1, 1, 1
    assert headline.score.chance == pytest.approx((1 / 2 + (1 / 4 + 1 / 8 + 3 / 2) / 5 + (2 / 4 + 4 / 2) / 6) / 3)


def test_its_form_is_known_under_another_name(tmp_path: Path) -> None:
    assert read_questions(write(tmp_path / "own.tsv", rows(), COLUMNS)).benchmark == "HallusionBench"


@pytest.mark.parametrize("name", ["HallusionBench_small", "own"])
def test_one_odd_index_is_refused(tmp_path: Path, name: str) -> None:
    """Else the three figures would be gone without a word."""
    with pytest.raises(DataError, match="index '17' has not HallusionBench's form"):
        read_questions(write(tmp_path / f"{name}.tsv", [*rows(), ["17", "VD", "VD_math", PICTURE, "?", "Yes"]], COLUMNS))


def test_without_its_sub_category_figures_would_merge(tmp_path: Path) -> None:
    bare = [[field for place, field in enumerate(fields) if place != 2] for fields in rows()]
    columns = [name for name in COLUMNS if name != "l2-category"]
    for path in (
        write(tmp_path / "a.tsv", bare, columns),
        write(tmp_path / "b.tsv", [*rows()[:-1], [*rows()[-1][:2], "", *rows()[-1][3:]]], COLUMNS),
    ):
        with pytest.raises(DataError, match="has no l2-category, without which figures of several kinds are merged"):
            read_questions(path)


def test_rows_without_a_picture_are_left_out_as_others_leave_them(tmp_path: Path) -> None:
    bare = [*rows()[7][:3], "", *rows()[7][4:]]
    found = scores(write(tmp_path / "own.tsv", [*rows()[:7], bare], COLUMNS), [said for _, said, _ in TABLE[:7]])
    assert found.headline.score is not None and (found.headline.score.count, found.headline.of) == (7, 7)
    assert found.notes == ("1 rows without a picture are left out, as VLMEvalKit leaves them out",)
    assert found.table["Overall"]["aAcc"] == pytest.approx(5 / 7)


def test_an_answer_that_is_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the answer of index VD_math_1_1_0_0 is 'maybe', and this benchmark's are yes, no"):
        read_questions(write(tmp_path / "own.tsv", [[*rows()[0][:-1], "maybe"], *rows()[1:]], COLUMNS))
