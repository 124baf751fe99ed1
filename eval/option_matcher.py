"""Which option a free answer names, by the rules of three states of VLMEvalKit, and yes or no.

Rules were read in that project's scoring and its history; the version goes into every result file, because the same answers
score differently under each. Its environment variable VERBOSE also changes scores; that is not imitated.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.errors import ConfigError

REFUSED = "Z"
"""Stands for an answer that takes none of the options; always wrong."""

UNKNOWN = "Unknown"

_NO_ANSWER = "Failed to obtain answer via API"
_REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
_LABEL_PUNCTUATION = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_ANSWER_IS = re.compile(r"answer\s+is\s+\**([A-D])", re.IGNORECASE)

_WORD_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"\.(?!\d)")
_FULL_STOPS_REMOVED = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionMatcher:
    """One state of the rules.

    `label_tail`: a label counts only when it first stands among the last so many words (None: anywhere).
    `finds_answer_is`: where no label was found, the letter A to D behind "answer is" is taken, even as the start of a word.
    `skips_long_texts`: option texts are not looked for in an answer over twice as long as all of them together.
    """

    label_tail: int | None
    finds_answer_is: bool
    skips_long_texts: bool

    def match(self, answer: str, options: Mapping[str, str]) -> str | None:
        """The label that an answer names, `Z` for a refusal, None when nothing matches. `options` maps labels to texts."""
        return self._label(answer, options) or self._text(answer, options)

    def _label(self, answer: str, options: Mapping[str, str]) -> str | None:
        if _NO_ANSWER in answer:
            return None
        if any(refusal in answer for refusal in _REFUSALS):
            return REFUSED
        words = answer.translate(_LABEL_PUNCTUATION).split()
        named = [label for label in options if label in words]
        if len(named) == 1 and self._stands_late(words, named[0]):
            return named[0]
        if not named and REFUSED in words:
            return REFUSED
        found = _ANSWER_IS.search(answer) if self.finds_answer_is else None
        return found[1].upper() if found and found[1].upper() in options else None

    def _stands_late(self, words: list[str], label: str) -> bool:
        return self.label_tail is None or words.index(label) >= len(words) - self.label_tail

    def _text(self, answer: str, options: Mapping[str, str]) -> str | None:
        lowered = answer.lower()
        if self.skips_long_texts and len(lowered) > 2 * sum(map(len, options.values())):
            return None
        contained = [label for label, text in options.items() if text.lower() in lowered]
        return contained[0] if len(contained) == 1 else None


MATCHERS: dict[str, OptionMatcher] = {
    "vlmevalkit-2025-07": OptionMatcher(label_tail=None, finds_answer_is=False, skips_long_texts=False),
    "vlmevalkit-2025-08": OptionMatcher(label_tail=4, finds_answer_is=False, skips_long_texts=True),
    "vlmevalkit-2026-06": OptionMatcher(label_tail=4, finds_answer_is=True, skips_long_texts=True),
}
DEFAULT_MATCHER = "vlmevalkit-2025-08"
"""In force when the CREM paper and the packaged releases measured."""


def option_matcher(version: str) -> OptionMatcher:
    """The matcher of a version. Raises ConfigError listing the versions there are."""
    if version not in MATCHERS:
        raise ConfigError(f"option matcher {version!r}: unknown; there are {', '.join(MATCHERS)}")
    return MATCHERS[version]


def yes_or_no(answer: str) -> str:
    """`Yes`, `No` or `Unknown`: exactly one of the two words stands in the answer once punctuation is gone."""
    words = _without_punctuation(answer.lower()).split()
    if ("yes" in words) == ("no" in words):
        return UNKNOWN
    return "Yes" if "yes" in words else "No"


def _without_punctuation(text: str) -> str:
    """The VQA rule: a mark vanishes where it, anywhere in the text, stands beside a space, else it becomes one.

    A number with a comma makes every mark vanish. Then up to 32 full stops go that no digit follows. Colons, asterisks and
    single or curly quotes are no punctuation here, so `**yes**` stays unknown.
    """
    has_comma_in_number = _COMMA_IN_NUMBER.search(text) is not None
    cleaned = text
    for mark in _WORD_PUNCTUATION:
        vanishes = has_comma_in_number or f"{mark} " in text or f" {mark}" in text
        cleaned = cleaned.replace(mark, "" if vanishes else " ")
    return _FULL_STOP.sub("", cleaned, count=_FULL_STOPS_REMOVED)
