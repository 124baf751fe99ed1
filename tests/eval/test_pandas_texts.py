"""What pandas makes of texts, and what that does to a question: followed for parity alone."""

from pathlib import Path

import pytest

from eval.option_matcher import DEFAULT_MATCHER, option_matcher
from eval.pandas_texts import as_pandas_reads
from eval.prompts import prompt
from eval.question_files import read_questions
from eval.verdicts import Rules, verdict
from tests.eval.test_tsv import row, write


@pytest.mark.parametrize(
    ("texts", "read"),
    [
        (["None", "NA", "x"], ["", "", "x"]),
        (["007", "12"], ["7", "12"]),
        (["007", ""], ["7.0", ""]),
        (["1.50", "2"], ["1.5", "2.0"]),
        (["1e3", "nan"], ["1000.0", ""]),
        (["7", "seven"], ["7", "seven"]),
        (["TRUE", "false"], ["True", "False"]),
        (["+3", "-4"], ["3", "-4"]),
        (["none", "Null"], ["none", "Null"]),  # not among its words
    ],
)
def test_columns(texts: list[str], read: list[str]) -> None:
    found = as_pandas_reads([{"A": text, "B": text} for text in texts], ["A"])
    assert [item["A"] for item in found] == read
    assert [item["B"] for item in found] == texts


def test_a_lost_option_is_neither_asked_nor_right(tmp_path: Path) -> None:
    path = write(
        tmp_path / "AI2D_small.tsv", [row("0", options=("one", "None", ""), answer="B"), row("1", options=("a", "b", "c"))]
    )
    (ours, _), (theirs, _) = read_questions(path).rows, read_questions(path, parity=True).rows
    assert "B. None" in prompt(ours, "qwen2-vl") and "B. None" not in prompt(theirs, "qwen2-vl")
    rules = Rules(matcher=option_matcher(DEFAULT_MATCHER))
    assert [verdict(each, "B", rules).is_hit for each in (ours, theirs)] == [True, False]


def test_an_empty_answer_has_become_nan(tmp_path: Path) -> None:
    """Its letter a is the text of an option: what nobody said is read as an answer."""
    (asked,) = read_questions(write(tmp_path / "AI2D_small.tsv", [row(options=("a", "b", "c"))])).rows
    matcher = option_matcher(DEFAULT_MATCHER)
    for said in ("", "None"):
        assert verdict(asked, said, Rules(matcher=matcher)).parsed is None
        assert verdict(asked, said, Rules(matcher=matcher, parity=True)).parsed == "A"
