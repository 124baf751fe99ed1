"""Accuracies worked by hand: majority baselines, rotated groups, HallusionBench's three."""

import pytest

from eval.option_matcher import DEFAULT_MATCHER, option_matcher
from eval.question_scores import Verdict, by_category, circular, hallusion, judge, majority, overall
from eval.tsv import QuestionRow

MATCHER = option_matcher(DEFAULT_MATCHER)


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
    return judge(row, prediction, MATCHER)


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


def test_circular_groups() -> None:
    rows = [question(index, "A") for index in ("7", "1000007", "2000007", "8", "1000008", "1000009", "10")]
    #       question 7: one rotation wrong; 8: all right; 9: its unrotated row is not there; 10: alone and right
    said = ["A", "A", "nothing", "A", "A", "A", "A"]
    result = circular([told(row, text) for row, text in zip(rows, said, strict=True)])
    assert result is not None
    assert result.value == pytest.approx(2 / 3)
    assert result.count == 3
    assert result.chance == pytest.approx((1 / 27 + 1 / 9 + 1 / 3) / 3)


def test_circular_groups_by_their_own_column() -> None:
    rows = [question(str(number), "A", group=group) for number, group in enumerate("xxyy")]
    result = circular([told(row, text) for row, text in zip(rows, ["A", "A", "A", "B"], strict=True)])
    assert result is not None
    assert (result.value, result.count) == (0.5, 2)


@pytest.mark.parametrize("indices", [("1", "2", "3"), ("a", "1", "1000001")])
def test_no_rotations_no_circular_score(indices: tuple[str, ...]) -> None:
    assert circular([told(question(index, "A"), "A") for index in indices]) is None


def test_hallusion_hand_worked() -> None:
    table = [
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
    verdicts = []
    for index, said, is_right in table:
        kind = "_".join(index.split("_")[:2])
        row = question(index, "Yes" if is_right else "No", options="", l2_category=kind)
        verdicts.append(told(row, said))
    result = hallusion(verdicts)
    assert result is not None
    assert result.a_acc == pytest.approx(5 / 8)
    assert result.f_acc == pytest.approx(2 / 5)  # right: (math 1 1), (math 2 0); wrong: (math 1 0), (table 1 0), (chart 1 0)
    assert result.q_acc == pytest.approx(
        3 / 6
    )  # right: (math 1 0), (math 1 2), (math 2 0); wrong: (math 1 1), (table 1 0), (chart 1 0)
    assert result.mean == pytest.approx((5 / 8 + 2 / 5 + 3 / 6) / 3)


def test_other_indices_have_no_hallusion_score() -> None:
    assert hallusion([told(question("17", "Yes", options=""), "yes")]) is None
