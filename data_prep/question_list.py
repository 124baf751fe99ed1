"""Reads the questions out of a list as models write them: with numbers, bullets, headings, bold type, or as JSON."""

import json
import re
import unicodedata
from contextlib import suppress

_ENDS = "?？؟"
_NUMBER = re.compile(
    r"""\A(?:
        [-*+•‣◦·–—>#|]+                       # a bullet
        | [(\[]?\d{1,2}[.)\]:：、](?!\d)       # 1. 2) (3) [4] 5: 6、
        | \(?[a-h][.)](?=\s)                  # a. b)
        | (?:question|q)\s*\d{0,2}\s*[.):：]   # Question 1: Q2.
    )\s*""",
    re.VERBOSE | re.IGNORECASE,
)
_NEXT_ON_LINE = re.compile(rf"(?<=[{_ENDS}])[\s*_\"']+(?=\(?\d{{1,2}}[.):：、](?!\d))")
_DECORATION = " *_`,[]"
_QUOTED = re.compile(r"""\A["'“„«](.*)["'”“»]\Z""")


def questions_in(text: str) -> tuple[str, ...]:
    """The questions of a list in their order, without what numbers or decorates them.

    A line that asks nothing (a heading, a preamble) is none of them.
    """
    found = (_bare(line) for line in _lines(text))
    return tuple(question for question in found if any(end in question for end in _ENDS) and any(map(str.isalnum, question)))


def comparable(question: str) -> str:
    """Equal for questions that differ in case, spacing and punctuation alone."""
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", question).casefold()))


def _lines(text: str) -> list[str]:
    """The items of a JSON list of texts; else the lines, divided again where a number follows a question on one line."""
    with suppress(ValueError, RecursionError):
        listed = json.loads(text.strip().removeprefix("```json").strip("`\n "))
        if isinstance(listed, list) and all(isinstance(item, str) for item in listed):
            return listed
    return [part for line in text.splitlines() for part in _NEXT_ON_LINE.split(line)]


def _bare(line: str) -> str:
    """A line without numbers, bullets, bold type and quotation marks around its words."""
    bare, before = " ".join(line.split()), ""
    while bare != before:
        before, bare = bare, _QUOTED.sub(r"\1", _NUMBER.sub("", bare.strip(_DECORATION)))
    return bare
