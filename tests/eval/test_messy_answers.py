"""What models say, and what the rules make of it: every value is written from the rule by hand, none from the code.

Choices are read by three states of the rule. Marks . ( ) [ ] , : ; ! * # { } become spaces, then words are split at white space.
2025-07: exactly one label among the words is the answer; no label and a word Z refuses; else the one option whose text stands in
the answer, case aside. 2025-08: the label's first place must be among the last four words, and texts are not looked for in an
answer over twice as long as all of them. 2026-06: before the texts, a letter A to D behind "answer is", even where a word begins.
"""

import pytest

from eval.benchmarks.mmmu import right_answers
from eval.benchmarks.open_answers import names_answer
from eval.option_matcher import MATCHERS, yes_or_no

OPTIONS = {"A": "a red kite", "B": "two dogs", "C": "snow", "D": "an old book"}
"""33 characters in all: an answer of more than 66 is long."""

CHOICES = {
    # one label, early enough for all three
    "B": "BBB",
    "B.": "BBB",
    "(B)": "BBB",
    "[B]": "BBB",
    "{B}": "BBB",
    "B)": "BBB",
    "B:": "BBB",
    "B;": "BBB",
    "B,": "BBB",
    "B!": "BBB",
    "#B": "BBB",
    "*B*": "BBB",
    "**B**": "BBB",
    "  B  ": "BBB",
    "B\n": "BBB",
    "\tB": "BBB",
    "B\u00a0": "BBB",
    "\u3000B": "BBB",
    "B B B": "BBB",
    "B. B": "BBB",
    "((B))": "BBB",
    "\\boxed{B}": "BBB",
    "$\\boxed{B}$": "BBB",
    "Option B": "BBB",
    "Answer: B": "BBB",
    "answer B": "BBB",
    "The answer is B": "BBB",
    "The answer is B.": "BBB",
    "The answer is **B**.": "BBB",
    "The correct option is (B)": "BBB",
    "I think it is B": "BBB",
    "I would go with B, surely": "BBB",
    "B it is": "BBB",
    "B it is then": "BBB",
    "B. two dogs": "BBB",
    "B: two dogs": "BBB",
    "(B) two dogs": "BBB",
    "B. snow": "BBB",  # a wrong text beside it
    "C. two dogs": "CCC",
    "A kite": "AAA",  # an article is a label
    "A dog": "AAA",
    "A closer look": "AAA",
    "<answer> B </answer>": "BBB",
    "<think>so?</think> B": "BBB",
    "B \U0001f44d": "BBB",
    "B - two dogs": "BBB",
    "- B": "BBB",
    "> B": "BBB",
    "the letter B": "BBB",
    "Not sure, B": "BBB",
    "Z": "ZZZ",
    "(Z)": "ZZZ",
    "Z.": "ZZZ",
    "B or Z": "BBB",  # Z refuses only where no label stands
    # one label, too far from the end since 2025-08
    "B it is, and so say we": "B--",
    "B because they bark and run": "B--",
    "Option (B) is the right choice": "B--",  # five words behind "Option": B is fifth from the end
    "A man holds the kite there": "A--",
    "A look at it shows a red kite": "AAA",  # since 2025-08 by its text
    "B since nothing else is two dogs": "BBB",  # likewise
    "B as it is not snow here": "BCC",  # likewise, another option's
    "The answer is B since they bark and run": "B-B",
    "answer is (B) for they bark and run": "B--",  # a bracket stands between
    "the answer  is **B** for they bark and run": "B-B",
    # two labels or more
    "A or B": "---",
    "A, B": "---",
    "A. B. C. D.": "---",
    "not A but B": "---",
    "A A B": "---",
    "Between C and D, it is D": "---",
    "A two dogs B": "BBB",  # by its text
    "Both A and B: snow": "CCC",
    "The answer is A. Wait, the answer is B": "--A",
    "It is C, I mean D; answer is D": "--D",
    # no label: texts
    "two dogs": "BBB",
    "Two Dogs": "BBB",
    "TWO DOGS.": "BBB",
    "two dogs and a cat": "BBB",
    "It shows two dogs.": "BBB",
    "the snow": "CCC",
    "snowman": "CCC",  # a text inside of a word
    "snow or two dogs": "---",
    "an old book, no snow": "---",
    "two  dogs": "---",
    "two\ndogs": "---",
    "dogs": "---",
    "kite": "---",
    "a red kite": "AAA",
    "it's a red kite": "AAA",
    "AN OLD BOOK": "DDD",
    "The answer is two dogs": "BBB",
    "The answer is snow": "CCC",
    "The answer is a red kite": "AAA",
    "The answer is an old book": "DDA",  # "an" begins with a
    "The answer is blue": "--B",
    "The answer is definitely snow": "CCD",
    "The answer is clear: two dogs": "BBC",
    "the answer is: B it is and so say we all": "B--",  # a colon stands between
    "The ANSWER IS bad": "--B",
    "my answer\nis d": "--D",
    "The answer is e": "---",
    "The answers is b": "---",
    "answer isb": "---",
    # no label, no text
    "b": "---",
    "(b)": "---",
    "the letter b": "---",
    '"B"': "---",
    "'B'": "---",
    "`B`": "---",
    "$B$": "---",
    "B?": "---",
    "B/C": "---",
    "<B>": "---",
    "=B": "---",
    "_B_": "---",
    "B-": "---",
    "AB": "---",
    "BB": "---",
    "Option-B": "---",
    "\u7b54\u6848\u662fB": "---",
    "\u7b54\u6848 B": "BBB",
    "\uff22": "---",  # full width
    "B\u200b": "---",  # a space of no width
    "\uff08B\uff09": "---",
    "B\u3002": "---",
    "E": "---",
    "1": "---",
    "2.": "---",
    "": "---",
    " ": "---",
    "None": "---",
    "nan": "---",
    "I cannot tell": "---",
    "Cannot determine the answer": "ZZZ",
    "Cannot determine the answer, B": "ZZZ",
    "I can't process this file.": "ZZZ",
    "Sorry, I can't help with images of people yet.": "ZZZ",
    "I'm sorry, but without the image provided I guess B": "ZZZ",
    "I'm sorry, but I can't help with that": "---",
    "cannot determine the answer": "---",  # in capitals alone
    "Failed to obtain answer via API": "---",
    "Failed to obtain answer via API. B": "---",
    "Failed to obtain answer via API: two dogs": "BBB",  # texts are looked for all the same
    # long answers: over 66 characters texts are not looked for since 2025-08
    "After a long look at all that can be seen here I would say: two dogs": "B--",
    "After a long look at all that can be seen here I say: two dogs, ye": "BBB",  # 66 characters
    "After a long look at all that can be seen in the picture I would go for B": "BBB",
    "B. After a long look at all that can be seen in the picture and around it": "B--",
    "After a long look at everything that there is to see the answer is snow": "C--",
    "After a long look at everything that there is to see the answer is a kite": "--A",
}

YES_NO = {
    "yes": "Yes",
    "Yes": "Yes",
    "YES": "Yes",
    "yes.": "Yes",
    "Yes, it is.": "Yes",
    "yes!": "Yes",
    "Yes?": "Yes",
    "(yes)": "Yes",
    "[Yes]": "Yes",
    '"yes"': "Yes",
    "yes; sure": "Yes",
    "oh yes": "Yes",
    "yes yes yes": "Yes",
    "Yes\n": "Yes",
    "yes-": "Yes",
    "=yes": "Yes",
    "well - yes": "Yes",
    "yes - no doubt": "Unknown",
    "no": "No",
    "No.": "No",
    "NO!": "No",
    "no, there is not": "No",
    "There is no dog": "No",
    "no way": "No",
    "<no>": "No",
    "No\u00a0": "No",
    "...no": "No",
    "no...": "No",
    "2.5 no": "No",
    "yes/no": "Unknown",
    "yes or no": "Unknown",
    "No, yes": "Unknown",
    "": "Unknown",
    " ": "Unknown",
    "nan": "Unknown",
    "none": "Unknown",
    "nothing": "Unknown",
    "not": "Unknown",
    "yesterday": "Unknown",
    "know": "Unknown",
    "**Yes**": "Unknown",
    "*no*": "Unknown",
    "Answer:Yes": "Unknown",
    "Answer: Yes": "Yes",
    "'yes'": "Unknown",
    "\u201cyes\u201d": "Unknown",
    "yes:": "Unknown",
    "#yes": "Unknown",
    "yes\u3002": "Unknown",
    "y": "Unknown",
    "true": "Unknown",
    "1,000 times yes": "Yes",
    "1,000 yes/sure": "Unknown",  # a comma in a number: marks vanish, and the words grow together
    "1 000 yes/sure": "Yes",
    "yes,sure": "Yes",
    "yes,sure , indeed": "Unknown",  # a comma beside a space vanishes everywhere
}

OPEN = {
    ("8", "8"): True,
    ("8.", "8"): True,
    ("8.0", "8"): True,
    ("It is 8", "8"): True,
    ("x = 8", "8"): True,
    ("eight", "8"): False,
    ("80", "8"): False,
    ("0.8", "8"): False,
    ("-8", "8"): False,
    ("8%", "8"): True,  # the number in it
    ("8 cm", "8"): True,
    ("8 or 9", "8"): True,
    ("between 7 and 9", "8"): False,
    ("1,234", "1234"): True,
    ("1234.004", "1,234"): True,
    ("1234.01", "1,234"): False,
    ("2e3", "2000"): True,
    ("0.333", "0.33"): True,
    ("1/3", "1/3"): True,
    ("about one half", "1/2"): False,
    ("paris", "Paris"): True,
    ("Paris.", "Paris"): True,
    ("It lies in Paris", "Paris"): True,
    ("London", "Paris"): False,
    ("Par is", "Paris"): False,
    ("so it is Rome", "Paris"): False,
    ("Rome\nFinal answer Paris", "Paris"): True,
    ("$5", "$5"): True,
    ("5", "$5"): False,
    ("['a', 'b']", "['x', 'y']"): False,
    ("y", "['x y', 'z']"): False,
    ("it is x y", "['x y', 'z']"): True,
    ("z", "['x y', 'z']"): True,
    ("size", "['x y', 'z']"): False,
    ("", "8"): False,
    (".", "8"): False,
    ("\n\n", "Paris"): False,
}


def test_there_are_at_least_two_hundred() -> None:
    assert len(CHOICES) + len(YES_NO) + len(OPEN) >= 240


@pytest.mark.parametrize("said", CHOICES, ids=repr)
def test_a_choice_by_three_states_of_the_rule(said: str) -> None:
    assert "".join(matcher.match(said, OPTIONS) or "-" for matcher in MATCHERS.values()) == CHOICES[said]


@pytest.mark.parametrize("said", YES_NO, ids=repr)
def test_yes_or_no(said: str) -> None:
    assert yes_or_no(said) == YES_NO[said]


@pytest.mark.parametrize("said", OPEN, ids=repr)
def test_open_answers(said: tuple[str, str]) -> None:
    text, answer = said
    assert names_answer(text, right_answers(answer)) == OPEN[said]
