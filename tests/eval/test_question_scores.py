"""Accuracies worked by hand, and the best that can be done without looking."""

from dataclasses import replace

import pytest

from eval.option_matcher import DEFAULT_MATCHER, option_matcher
from eval.question_scores import by_category, chance, majority, overall
from eval.questions import QuestionRow
from eval.verdicts import Rules, Verdict, verdict

RULES = Rules(matcher=option_matcher(DEFAULT_MATCHER))


def question(
    index: str, answer: str, *, options: str = "red green blue", category: str = "", l2_category: str = "", group: str = ""
) -> QuestionRow:
    texts = dict(zip("ABCD", options.split(), strict=False))
    return QuestionRow(
        index=index,
        question="?",
        answer=answer,
        options=texts,
        images=(b"",),
        category=category,
        l2_category=l2_category,
        group=group,
    )


def told(row: QuestionRow, prediction: str) -> Verdict:
    return verdict(row, prediction, RULES)


def test_judging_counts_what_could_not_be_read() -> None:
    row = question("0", "B")
    assert [told(row, text).parsed for text in ("B", "green", "no idea")] == ["B", "B", None]
    assert [told(row, text).is_hit for text in ("B", "A", "no idea")] == [True, False, False]
    yes = question("1", "Yes", options="")
    assert [told(yes, text).parsed for text in ("yes.", "no", "**yes**")] == ["Yes", "No", None]


def test_accuracy_by_category_and_overall() -> None:
    rows = [
        question("0", "A", category="colour"),
        question("1", "B", category="colour"),
        question("2", "Yes", options="", category="shape"),
    ]
    verdicts = [told(row, text) for row, text in zip(rows, ["A", "A", "no"], strict=True)]
    categories = by_category(verdicts)
    assert {name: item.score.value for name, item in categories.items()} == {"colour": 0.5, "shape": 0.0}
    whole = overall(verdicts, categories)
    assert whole is not None
    assert whole.score.value == pytest.approx(1 / 3)
    assert whole.score.chance == pytest.approx((1 / 3 + 1 / 3 + 1 / 2) / 3)
    assert whole.majority == pytest.approx((2 * categories["colour"].majority + 1 * 1.0) / 3)


def test_majority_of_labels() -> None:
    rows = [question(str(number), answer, options=f"u{number} v{number}") for number, answer in enumerate("AAAB")]
    # No text comes twice, so the texts of other rows tell nothing: 1/2 each; the label A is right in 3 of 4.
    assert majority(rows) == 0.75


def test_majority_of_texts_behind_shuffled_labels() -> None:
    options = ["red green", "green red", "red green", "green red"]
    rows = [
        question(str(number), answer, options=words) for number, (answer, words) in enumerate(zip("ABAB", options, strict=True))
    ]
    # Labels are balanced, but "red" is always right.
    assert majority(rows) == 1.0


def test_majority_does_not_reward_texts_that_come_once() -> None:
    rows = [question(str(number), "AB"[number % 2], options=f"u{number} v{number}") for number in range(10)]
    assert majority(rows) == 0.5


def test_majority_of_yes_and_no() -> None:
    rows = [question(str(number), "Yes" if number < 7 else "No", options="") for number in range(10)]
    assert majority(rows) == 0.7


def test_majority_of_texts_counts_rows_without_options_as_missed() -> None:
    """Two rows whose right text is known, and a yes and a no: half of the category."""
    rows = [question("0", "A", options="red green"), question("1", "B", options="green red")]
    rows += [question("2", "Yes", options=""), question("3", "No", options="")]
    assert majority(rows) == 0.5


def test_rotations_of_a_question_are_one_question_for_the_majority() -> None:
    """Each would give the others away: the text that is right in one is right in all."""
    rows = []
    for number in range(6):
        texts = [f"{word}{number}" for word in "uvw"]
        for turn in range(3):
            options = " ".join(texts[turn:] + texts[:turn])
            answer = "ABC"[(number - turn) % 3]
            rows.append(question(f"{number + 1_000_000 * turn}", answer, options=options, group=str(number)))
    assert majority(rows) == pytest.approx(1 / 3)


def test_free_words_have_no_baseline() -> None:
    row = question("0", "a long way", options="")
    assert majority([replace(row, is_open=True)] * 3) == 0.0
    assert chance(replace(row, is_open=True)) == 0.0
