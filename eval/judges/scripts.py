"""What is asked of a judge about one answer, and what its replies are worth: scripts, whoever runs them.

The numbers of tries and their temperatures are VLMEvalKit's: a choice three times at 0, yes or no and a score five times, at 0,
0.5, 1, 1.5 and 2. What stays unread stays wrong; no option is drawn at random.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from eval.judges.wording import choice_words, score_words, yes_no_words
from eval.option_matcher import UNKNOWN, OptionMatcher, yes_or_no
from eval.verdicts import Verdict
from pipeline.chat import Script
from pipeline.chat.journal import Failed
from pipeline.chat.request import ChatRequest, Sampling, content_key

CHOICE_TEMPERATURES = (0.0, 0.0, 0.0)
TEMPERATURES = (0.0, 0.5, 1.0, 1.5, 2.0)
_NUMBER = re.compile(r"[01]?\.?\d+|[01]\.?")
_REPLY_TOKENS = 64

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Unjudged:
    """An answer about which the judge could not be asked, and why."""

    index: str
    reason: str


Judgement = Verdict | Unjudged


def judged_choice(each: Verdict, options: Mapping[str, str], right: str, matcher: OptionMatcher, judge: str) -> Script[Judgement]:
    """Which of the options an answer means."""
    words = choice_words(each.row, options, each.prediction)
    read = yield from _asked(words, CHOICE_TEMPERATURES, lambda text: matcher.match(text, options), judge)
    if isinstance(read, Failed):
        return Unjudged(each.row.index, read.reason)
    return replace(each, parsed=read, credit=float(read == right))


def judged_yes_no(each: Verdict, judge: str) -> Script[Judgement]:
    """Whether an answer means yes or no."""
    read = yield from _asked(yes_no_words(each.row, each.prediction), TEMPERATURES, _yes_or_no, judge)
    if isinstance(read, Failed):
        return Unjudged(each.row.index, read.reason)
    return replace(each, parsed=read, credit=float(read == each.row.answer))


def judged_score(each: Verdict, judge: str) -> Script[Judgement]:
    """What free words are worth; 0 where the judge gives no number."""
    read = yield from _asked(score_words(each.row, each.prediction), TEMPERATURES, credit_in, judge)
    if isinstance(read, Failed):
        return Unjudged(each.row.index, read.reason)
    return replace(each, parsed=None if read is None else str(read), credit=read or 0.0)


def credit_in(text: str) -> float | None:
    """A bare number from 0 to 1, None for anything else: not "nan", and no words around it."""
    if not _NUMBER.fullmatch(text.strip()):
        return None
    value = float(text)
    return value if math.isfinite(value) and 0 <= value <= 1 else None


def _yes_or_no(text: str) -> str | None:
    said = yes_or_no(text)
    return None if said == UNKNOWN else said


def _asked(words: str, temperatures: Sequence[float], read: Callable[[str], T | None], judge: str) -> Script[T | Failed | None]:
    """The first reply that can be read, of one try a temperature; each try is kept by itself."""
    for number, temperature in enumerate(temperatures):
        request = ChatRequest(text=words, sampling=Sampling(max_tokens=_REPLY_TOKENS, temperature=temperature))
        answer = yield replace(request, key=f"{content_key(request, judge)}-{number}")
        if isinstance(answer, Failed):
            return answer
        if (found := read(answer.text)) is not None:
            return found
    return None
