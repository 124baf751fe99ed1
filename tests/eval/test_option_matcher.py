"""The rules that read an answer, one row of the table for each, with the differences between versions."""

import pytest

from eval.option_matcher import DEFAULT_MATCHER, option_matcher, yes_or_no
from pipeline.errors import ConfigError

ANIMALS = {"A": "a cat", "B": "a spotted dog", "C": "the horse", "D": "an owl"}
OLD, MID, NEW = "vlmevalkit-2025-07", "vlmevalkit-2025-08", "vlmevalkit-2026-06"

SAME_IN_ALL = [
    ("B", "B"),
    ("B.", "B"),
    ("(B)", "B"),
    ("[B]", "B"),
    ("**B**", "B"),
    ("{B}", "B"),
    ("#B!", "B"),
    ("B: yes", "B"),
    ("B, of course", "B"),
    ("Answer:B;", "B"),
    ("B\u2003dog", "B"),
    ("\nB\t", "B"),
    ("B. dog", "B"),
    ("Z", "Z"),
    ("Sorry, I can't help with images of people yet. B", "Z"),
    ("I can't process this file.", "Z"),
    ("I'm sorry, but without the image provided I cannot", "Z"),
    ("Cannot determine the answer", "Z"),
    ("Failed to obtain answer via API", None),
    ("Failed to obtain answer via API: the horse", "C"),
    ("The Horse", "C"),
    ("AN OWL", "D"),
    ("a cat, an owl", None),
    ("B or C", None),
    ("A, B or Z", None),
    ("C (a cat)", "C"),  # the label, whatever text stands beside it
    ("b", None),
    ('"B"', None),
    ("`B`", None),
    ("$B$", None),
    ("B?", None),
    ("B/C", None),
    ("<B>", None),
    ("答案是B", None),
    ("\uff22", None),
    ("B\u200b", None),
    ("A dog", "A"),
    ("", None),
    ("E", None),
]

DIFFER = [
    # A label is trusted only among the last four words: since 2025-08.
    ("B is what I would choose", "B", None, None),
    ("so B is what one sees", "B", None, None),
    ("it is B for all of us", "B", None, None),
    ("it is B I am sure", "B", "B", "B"),
    # With four or more words of text behind the label, only the text stage can help.
    ("B. a spotted dog that runs", "B", "B", "B"),
    ("B. some other words of text", "B", None, None),
    # Too long an answer is not searched for option texts: since 2025-08.
    ("what stands in the middle of the meadow, next to the fence, is the horse", "C", None, None),
    # "answer is" plus a letter, even as the start of a word: since 2026-06.
    ("The answer is blue", None, None, "B"),
    ("The answer is a hawk", None, None, "A"),
    ("The answer is definitely not here", None, None, "D"),
    ("The answer is **C** and not B", None, None, "C"),
    ("answer is B. Wait, answer is C", None, None, "B"),
    ("THE ANSWER  IS cold", None, None, "C"),
    ("The answer is entirely open", None, None, None),
]


@pytest.mark.parametrize("version", [OLD, MID, NEW])
@pytest.mark.parametrize(("answer", "expected"), SAME_IN_ALL)
def test_rules_that_all_versions_share(answer: str, expected: str | None, version: str) -> None:
    assert option_matcher(version).match(answer, ANIMALS) == expected


@pytest.mark.parametrize(("answer", "old", "mid", "new"), DIFFER)
def test_rules_that_differ(answer: str, old: str | None, mid: str | None, new: str | None) -> None:
    assert [option_matcher(version).match(answer, ANIMALS) for version in (OLD, MID, NEW)] == [old, mid, new]


def test_answer_is_names_only_options_there_are() -> None:
    assert option_matcher(NEW).match("the answer is definitely", {"A": "x1", "B": "x2"}) is None


def test_a_label_counts_where_it_first_stands() -> None:
    assert option_matcher(MID).match("B one two three four B", ANIMALS) is None
    assert option_matcher(MID).match("B two three B", ANIMALS) == "B"


def test_length_limit_is_twice_all_option_texts() -> None:
    options = {"A": "red", "B": "blue"}
    assert option_matcher(MID).match("it's all red ..", options) is None  # 15 characters, limit 14
    assert option_matcher(MID).match("it's all red .", options) == "A"


def test_verbose_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERBOSE", "1")
    assert option_matcher(OLD).match("I would say A", ANIMALS) == "A"


def test_default_is_the_packaged_era() -> None:
    assert DEFAULT_MATCHER == MID


def test_unknown_version() -> None:
    with pytest.raises(ConfigError, match="vlmevalkit-2025-08"):
        option_matcher("latest")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Yes", "Yes"),
        ("no.", "No"),
        ("Yes, it is.", "Yes"),
        ("No, it is not", "No"),
        ("yes!", "Yes"),
        ('"Yes"', "Yes"),
        ("(no)", "No"),
        ("[yes]", "Yes"),
        ("yes/maybe", "Yes"),  # no space beside the mark: it becomes one
        ("yes/maybe or / so", "Unknown"),  # a space beside one of them: the words grow together
        ("1,000 yes;sure", "Unknown"),  # a number with a comma: all marks vanish
        ("1 000 yes;sure", "Yes"),
        ("yes and no", "Unknown"),
        ("yes yes", "Yes"),
        ("", "Unknown"),
        ("nope", "Unknown"),
        ("**Yes**", "Unknown"),
        ("Answer:Yes", "Unknown"),
        ("'yes'", "Unknown"),
        ("\u201cyes\u201d", "Unknown"),
        ("It is 3.5 metres, no.", "No"),
        ("." * 32 + " yes", "Yes"),
        ("." * 32 + "yes", "Yes"),
        ("." * 33 + "yes", "Unknown"),  # at most 32 full stops go
    ],
)
def test_yes_or_no(answer: str, expected: str) -> None:
    assert yes_or_no(answer) == expected
