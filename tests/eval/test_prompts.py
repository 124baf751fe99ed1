"""The words of a prompt, to the last space."""

from dataclasses import replace

import pytest

from eval.prompts import prompt
from eval.questions import QuestionRow
from pipeline.errors import ConfigError

ROW = QuestionRow(index="0", question="Which one?", answer="A", options={"A": "x", "C": "z"}, images=())


def test_multiple_choice() -> None:
    body = "Question: Which one?\nOptions:\nA. x\nC. z\nPlease select the correct answer from the options above."
    assert prompt(ROW, "qwen2-vl") == body
    assert prompt(ROW, "default") == f"{body} \n"


def test_hint_comes_first() -> None:
    assert prompt(replace(ROW, hint="Look up."), "qwen2-vl").startswith("Hint: Look up.\nQuestion: Which one?\n")


def test_chinese_questions_are_answered_in_kind() -> None:
    row = replace(ROW, question="哪一个?")
    assert prompt(row, "qwen2-vl").endswith("\nC. z\n请直接回答选项字母。")
    assert prompt(row, "default").endswith("options above. \n")


def test_yes_or_no() -> None:
    row = QuestionRow(index="0", question="Is it red?", answer="Yes", options={}, images=())
    assert prompt(row, "qwen2-vl") == "Is it red? Please answer yes or no."
    assert prompt(row, "default") == "Is it red?"


def test_unknown_style() -> None:
    with pytest.raises(ConfigError, match="qwen2-vl, default"):
        prompt(ROW, "loud")
