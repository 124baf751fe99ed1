"""MMMU: every row is scored, open ones too, and validation is what is reported."""

from pathlib import Path

import pytest

from eval.benchmarks.mmmu import right_answers
from eval.benchmarks.open_answers import names_answer
from eval.benchmarks.registry import BY_NAME
from eval.option_matcher import DEFAULT_MATCHER, option_matcher
from eval.prompts import as_conversation
from eval.question_files import read_questions
from eval.verdicts import Rules
from tests.eval.benchmarks.test_rotations import scores
from tests.eval.fakes import png
from tests.eval.test_tsv import coded, write

RED, BLUE = png((255, 0, 0)), png((0, 0, 255))
COLUMNS = ("id", "index", "question", "split", "A", "B", "answer", "image", "category", "l2-category")
ROWS = [
    ["validation_Art_1", "1", "<image 1> What?", "validation", "red", "blue", "A", coded(RED), "Art & Design", "Art"],
    ["validation_Art_2", "2", "How many <image 1>?", "validation", "", "", "8", coded(BLUE), "Art & Design", "Art"],
    ["validation_Math_3", "3", "Is it? <image 1>", "validation", "", "", "yes", coded(RED), "Science", "Math"],
    ["dev_Math_1", "4", "<image 1> What?", "dev", "red", "blue", "B", coded(BLUE), "Science", "Math"],
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "MMMU_small.tsv", ROWS, COLUMNS)


def test_open_questions_are_scored_and_validation_is_reported(path: Path) -> None:
    found = scores(path, ["A", "There are 18", "yes", "A"])
    assert found.headline.score is not None
    assert (found.headline.name, found.headline.score.count, found.headline.of) == ("accuracy on validation", 3, 3)
    assert found.headline.score.value == pytest.approx(2 / 3)
    assert found.notes == ("2 of these rows are open questions, 1 of them right",)
    assert found.table == {
        "dev": {"Overall": 0, "Math": 0, "Science": 0},
        "validation": {"Overall": pytest.approx(2 / 3), "Art": 0.5, "Math": 1, "Art & Design": 0.5, "Science": 1},
    }


def test_parity_takes_an_open_question_for_a_choice_of_two(path: Path) -> None:
    table = read_questions(path)
    rules = Rules(matcher=option_matcher(DEFAULT_MATCHER), parity=True)
    benchmark = BY_NAME["MMMU"]
    said = ["A", "18", "Other answers", "B"]
    found = [benchmark.verdict(row, text, rules) for row, text in zip(table.rows, said, strict=True)]
    assert [(each.parsed, each.credit) for each in found] == [("A", 1), ("A", 1), ("B", 0), ("B", 1)]


def test_pictures_stand_in_mid_sentence_where_the_words_name_them(tmp_path: Path) -> None:
    question = "Compare <image 1> with <image 2>, and again <image 1>; <image 9> is none"
    fields = ["v", "1", question, "validation", "red <image 2>", "blue", "A", repr([coded(RED), coded(BLUE)]), "Art", "Art"]
    (row,) = read_questions(write(tmp_path / "MMMU_small.tsv", [fields], COLUMNS)).rows
    messages = BY_NAME["MMMU"].messages(row, "default")
    assert messages[:7] == ["Question: Compare ", 1, " with ", 2, ", and again ", 1, "; "]
    asked = "\nB. blue\nPlease select the correct answer from the options above. \n"
    assert messages[7:] == ["<image 9>", " is none\nOptions:\nA. red ", 2, asked]
    side, words = as_conversation(row, messages)
    assert side.images == (RED, BLUE, RED, BLUE)
    assert side.text == (
        "Question: Compare <|image_1|> with <|image_2|>, and again <|image_3|>; <image 9> is none\nOptions:\nA. red <|image_4|>"
    )
    assert words == asked
    side, asked = as_conversation(row, BY_NAME["MMMU"].messages(row, "qwen2-vl"))
    assert (side.text, side.images) == ("", (RED, BLUE))
    assert asked.startswith("Question: Compare <image 1> with <image 2>")


def test_words_that_look_like_our_own_markers_are_no_pictures(tmp_path: Path) -> None:
    fields = ["v", "1", "What is <|image_1|> in <image 1>?", "validation", "", "", "8", coded(RED), "Art", "Art"]
    (row,) = read_questions(write(tmp_path / "MMMU_small.tsv", [fields], COLUMNS)).rows
    side, asked = as_conversation(row, BY_NAME["MMMU"].messages(row, "default"))
    assert (side.text, side.images, asked) == ("", (RED,), "Question: What is <|image_1|> in ?\n")


@pytest.mark.parametrize(
    ("said", "answer", "is_right"),
    [
        ("8", "8", True),
        ("The net income is 8.", "8", True),
        ("18", "8", False),  # a number in a number
        ("8.0", "8", True),
        ("8.004", "8", True),  # equal to two decimals
        ("7", "8", False),
        ("0.09", "['1/11', '0.09']", True),
        ("so it is 1/11", "['1/11', '0.09']", True),
        ("paris", "Paris", True),
        ("It is in Paris, France", "Paris", True),
        ("London", "Paris", False),
        ("", "Paris", False),
        ("1200", "$1,200", False),  # the sign is part of the text
        ("$1,200", "$1,200", True),
        ("The total = 1,200", "1200", True),
        ("The total = 1200 dollars", "1,200", True),
        ("3.50", "3.5", True),
        ("about 1e3 of them", "1000", True),
        ("it is -4", "4", False),
        ("B", "B", True),
        ("Bread", "B", False),  # one letter only beside a space
        ("plan B", "B", True),
        ("Thus x = 3\nTherefore 5", "5", True),
        ("Thus x is 3\nno more words", "3", True),
        ("result:", "7", False),
        ("nan", "7", False),
    ],
)
def test_open_answers_by_the_rule_of_the_authors(said: str, answer: str, is_right: bool) -> None:
    assert names_answer(said, right_answers(answer)) == is_right
