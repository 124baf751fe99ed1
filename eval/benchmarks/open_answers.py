"""Whether free words name a short answer, by the rule of MMMU's authors: what an answer comes down to, and numbers as numbers.

Restated from their evaluation: lines are cut down to what stands behind the last "is", "so", "answer" and the like; numbers are
compared to two decimals whatever their commas; words by containment, one letter only where a space stands beside it.
"""

import re
from collections.abc import Iterable, Sequence

_LEADS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
"""Words behind which the answer of a line stands; in the last line "=" is one too."""
_EMPTY = frozenset(":,.!?;'")
_NUMBERS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),
    re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+"),
    re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])"),
)
"""With thousands separated, with an exponent, plain."""
_DECIMALS = 2

Value = str | float


def names_answer(said: str, right: Sequence[str]) -> bool:
    """Whether an answer names one of the right texts."""
    wanted = {value for text in right for value in _values(text)}
    words = {value for value in wanted if isinstance(value, str)}
    return any(
        any(word in value for word in words) if isinstance(value, str) else value in wanted for value in _said_values(said)
    )


def _said_values(said: str) -> Iterable[Value]:
    """What an answer may be taken to say: the ends of its lines, and the numbers in them."""
    ends = list(_line_ends(said.strip().strip(".").lower())) or [said]
    for end in ends:
        yield from _values(end)
        for pattern in _NUMBERS:
            for number in pattern.findall(end):
                yield from _values(number)


def _line_ends(said: str) -> Iterable[str]:
    """For each line the shortest text behind one of the leading words; nothing of a line without one."""
    lines = said.split("\n")
    for number, line in enumerate(lines):
        leads = (*_LEADS, "=") if number == len(lines) - 1 else _LEADS
        ends = [line.split(lead)[-1].strip() for lead in leads if lead in line]
        shortest = min(ends, key=len, default="")
        if shortest and shortest not in _EMPTY:
            yield shortest


def _values(text: str) -> list[Value]:
    """A number to two decimals, or the text in lower case; one letter with a space on either side, so that no word holds it."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), _DECIMALS)]
    except ValueError:
        lowered = text.lower()
        return [f" {lowered}", f"{lowered} "] if len(lowered) == 1 else [lowered]
