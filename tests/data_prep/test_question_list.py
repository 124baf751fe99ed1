"""Lists of questions as models write them, and what is read out of them, by hand."""

import pytest

from data_prep.question_list import comparable, questions_in

TWO = ("What is on the table?", "Where was it taken?")
LISTS = {
    "plain": "What is on the table?\nWhere was it taken?",
    "numbers": "1. What is on the table?\n2. Where was it taken?",
    "brackets": "1) What is on the table?\n(2) Where was it taken?\n",
    "square brackets": "[1] What is on the table?\n[2] Where was it taken?",
    "bullets": "- What is on the table?\n* Where was it taken?",
    "other bullets": "• What is on the table?\n– Where was it taken?",
    "letters": "a) What is on the table?\nB. Where was it taken?",
    "q": "Q1: What is on the table?\nQ2. Where was it taken?",
    "question": "Question 1: What is on the table?\n**Question 2:** Where was it taken?",
    "numbers and q": "1. Q: What is on the table?\n\n2. Q: Where was it taken?",
    "bold": "1. **What is on the table?**\n2. __Where was it taken?__",
    "bullet, bold number": "- **1.** What is on the table?\n- **2.** Where was it taken?",
    "headings": "### Objects\n1. What is on the table?\n### Place\n2. Where was it taken?",
    "preamble": "Here are two questions:\n\n1. What is on the table?\n2. Where was it taken?\n\nThey cover the picture.",
    "one line": "1. What is on the table? 2. Where was it taken?",
    "quotation marks": '"What is on the table?"\n“Where was it taken?”',
    "JSON": '["What is on the table?", "Where was it taken?"]',
    "JSON in a fence": '```json\n["What is on the table?",\n "Where was it taken?"]\n```',
    "JSON that is cut": '["What is on the table?",\n "Where was it taken?",\n "How',
    "windows": "1. What is on the table?\r\n2.  Where was\tit taken? \r\n",
    "quoted": "> What is on the table?\n> Where was it taken?",
}


@pytest.mark.parametrize("text", LISTS.values(), ids=LISTS.keys())
def test_questions_are_read_without_what_numbers_them(text: str) -> None:
    assert questions_in(text) == TWO


@pytest.mark.parametrize(
    "question",
    [
        "2 birds or 3 birds?",
        "1.5 litres or 2 litres?",
        "3:15 or 3:20 on the clock?",
        'What does the sign "STOP" mean?',
        '"STOP" or "GO"?',
        "A dog or a cat?",
        "Question marks: how many are there?",
        "-",
    ],
)
def test_what_belongs_to_a_question_stays(question: str) -> None:
    assert questions_in(f"1. {question}") == ((question,) if "?" in question else ())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1. 图中有几只狗？\n2、照片是在哪里拍的？", ("图中有几只狗？", "照片是在哪里拍的？")),
        ("١. ما لون السيارة؟", ("ما لون السيارة؟",)),
        ("1. ما لون السيارة؟", ("ما لون السيارة؟",)),
    ],
)
def test_questions_of_other_languages_are_questions(text: str, found: tuple[str, ...]) -> None:
    assert questions_in(text) == found


@pytest.mark.parametrize("text", ["", "?", "A red car stands by the sea.", "{}", "[1, 2]", "[" * 5000, "null", '{"a": "What?"'])
def test_what_is_no_list_has_few_questions_or_none(text: str) -> None:
    assert len(questions_in(text)) <= 1


def test_questions_that_differ_in_punctuation_alone_are_one() -> None:
    assert comparable("What colour  is the car?") == comparable("what colour is the car ?")
    assert comparable("What colour is the car?") != comparable("What colour is the cap?")
