"""What a judge of candidates is asked, and what its answer says: the words are our own, of Yes and No the likelier counts."""

import math
import re
from collections.abc import Sequence

from pipeline.chat import Answer, ChatRequest, Failed, Sampling
from pipeline.sample import IMAGE_MARKER, Side

VERSION = 1
"""Of the words. Answers to other words are other answers."""

HEAD = (
    "Somebody searched with a query, and a candidate was found. A candidate is right if it is what the query asks for, not "
    "merely something like it."
)
QUERY, CANDIDATE = "Query: ", "Candidate: "
TAIL = "Is the candidate right? Reply with Yes or No alone."

YES, NO = "yes", "no"
_SPACE = "▁Ġ "
"""How some tokenizers write the space before a word."""
_PLACES = 20
"""Likeliest tokens that are asked for, as many as endpoints commonly tell."""

UNREAD = "neither yes nor no"
TIED = "yes as likely as no"


def judge_request(query: Side, candidate: Side) -> ChatRequest:
    """The question whether a candidate answers a query: its pictures first, the query's before the candidate's."""
    lines = (HEAD, QUERY + _told(query, 1), CANDIDATE + _told(candidate, 1 + len(query.images)), TAIL)
    return ChatRequest(
        text="\n".join(lines),
        images=query.images + candidate.images,
        sampling=Sampling(max_tokens=1, temperature=0, top_logprobs=_PLACES),
    )


def margin(answer: Answer) -> float | Failed:
    """By how much the logit of yes is above that of no, over 0 for yes; a failure where the answer does not say.

    Log-probabilities of one place differ as logits do. Spellings of a word count together. A word that is not among the likeliest
    is at most as likely as the last of these, which stands for it.
    """
    told = answer.top_logprobs[0] if answer.top_logprobs else ()
    yes, no = (_log_sum([value for token, value in told if _word(token) == word]) for word in (YES, NO))
    if yes == no == -math.inf:
        return Failed(UNREAD, f"{UNREAD} among the likeliest tokens")
    least = min(value for _, value in told)
    found = max(yes, least) - max(no, least)
    return found if found else Failed(TIED, TIED)


def _told(side: Side, first: int) -> str:
    """A side's words with its pictures by their numbers, from `first`; a picture without a marker stands before the words."""
    count, named = len(side.images), set[int]()

    def number(marker: re.Match[str]) -> str:
        place = int(marker[1])
        named.add(place)
        return f"(picture {first + place - 1})" if 1 <= place <= count else ""

    words = IMAGE_MARKER.sub(number, side.instruction + side.text).strip()
    unnamed = [f"(picture {first + place})" for place in range(count) if place + 1 not in named]
    return " ".join([*unnamed, words]).strip()


def _word(token: str) -> str:
    return token.strip().strip(_SPACE).casefold()


def _log_sum(values: Sequence[float]) -> float:
    """log of the sum of exponentials; minus infinity of nothing."""
    most = max(values, default=-math.inf)
    return most if math.isinf(most) else most + math.log(sum(math.exp(value - most) for value in values))
