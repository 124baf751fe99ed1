"""Which answers of a model may become training targets. The rules are values; what they leave out stays in the journal.

Left out is only what is plainly none: cut short or withheld, empty, a refusal, a loop, the request said back, chat markup.
"""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from data_prep.qa_refusals import REFUSALS, Refusal
from pipeline.chat import CUT_ENDS, Answer


class Fault(StrEnum):
    """Why an answer is left out."""

    WITHHELD = "withheld"
    CUT = "cut"
    UNKNOWN_END = "unknown_end"
    EMPTY = "empty"
    MARKUP = "markup"
    REFUSAL = "refusal"
    ECHO = "echo"
    LOOP = "loop"
    PLACEHOLDER = "placeholder"
    LANGUAGE = "language"
    LONG = "long"


WORDS = {
    Fault.WITHHELD: "withheld by the server's filter",
    Fault.CUT: "cut short by the limit of tokens",
    Fault.UNKNOWN_END: "ended for a reason that is not known here",
    Fault.EMPTY: "an answer without a letter or digit",
    Fault.MARKUP: "markup of a chat template in the answer",
    Fault.REFUSAL: "a refusal",
    Fault.ECHO: "the request said back",
    Fault.LOOP: "an answer that repeats itself",
    Fault.PLACEHOLDER: "a word that stands in for an answer",
    Fault.LANGUAGE: "another script than the request's",
    Fault.LONG: "longer than any answer should be",
}
"""What a list of rejects says of each fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """All that decides which answers are left out.

    The `..._ends` are values of finish_reason; none at all counts as whole. An inability counts within `reach` characters of an
    apology. An answer loops when it ends on one piece, of at most `longest_period` characters, `least_repeats` times or more and
    over `least_looped` characters or more; or when one phrase, of `least_phrase` characters or more, comes `least_equal_phrases`
    times and makes up half of it. It says the request back when it is nothing else, or shares `echoed_words` words in a row
    with the wording that all prompts share. It is in another language when less than `least_own_script` of its letters are of a
    script that the request has: writing that it copies from a picture may be of any. `placeholders` are whole answers.
    """

    whole_ends: tuple[str, ...] = ("", "stop", "eos", "eos_token", "end_turn", "stop_sequence")
    cut_ends: tuple[str, ...] = CUT_ENDS
    withheld_ends: tuple[str, ...] = ("content_filter", "refusal", "safety")
    markup: str = r"<\|[a-z0-9_]{1,30}\|>|</?think>|\[/?inst\]"
    refusals: tuple[Refusal, ...] = REFUSALS
    reach: int = 100
    echoed_words: int = 8
    longest_period: int = 200
    least_repeats: int = 4
    least_looped: int = 40
    least_phrase: int = 6
    least_equal_phrases: int = 5
    least_own_script: float = 0.2
    least_letters: int = 4
    most_characters: int = 8000
    placeholders: tuple[str, ...] = (
        *("n/a", "na", "n.a", "null", "nil", "undefined", "not applicable", "not available", "no answer", "no description"),
        *("image", "[image]", "<image>", "picture", "description", "caption", "answer", "tbd", "todo", "lorem ipsum"),
        *("无", "暂无", "不适用", "なし", "該当なし", "해당 없음", "no aplica", "non applicable", "nicht zutreffend"),
        *("não aplicável", "non applicabile", "неприменимо", "нет данных", "غير متوفر", "लागू नहीं"),
    )


RULES = Rules()
_DECORATION = r"[\s*#>_~\-–—.]*"
_PHRASE_ENDS = re.compile(r"[.,;:!?。、؟।|\n]+")


def fault_of(answer: Answer, *, request: str, template: str) -> Fault | None:
    """What is wrong with an answer to the prompt `template` with `request` filled in; None for one that may be learnt."""
    return _fault_of_ending(answer.finish_reason.lower()) or _fault_of_words(answer.text, request, template)


def _fault_of_ending(finish_reason: str) -> Fault | None:
    if finish_reason in RULES.whole_ends:
        return None
    if finish_reason in RULES.cut_ends:
        return Fault.CUT
    return Fault.WITHHELD if finish_reason in RULES.withheld_ends else Fault.UNKNOWN_END


def _fault_of_words(text: str, request: str, template: str) -> Fault | None:
    plain = _plain(text)
    if not any(letter.isalnum() for letter in plain):
        return Fault.EMPTY
    if plain.strip(" .!。*\"'`") in RULES.placeholders:
        return Fault.PLACEHOLDER
    if re.search(RULES.markup, plain):
        return Fault.MARKUP
    if len(plain) > RULES.most_characters:
        return Fault.LONG
    if any(_refuses(plain, language) for language in RULES.refusals):
        return Fault.REFUSAL
    if _echoes(_words(plain), request, template):
        return Fault.ECHO
    if _ends_on_one_piece(plain) or _is_one_phrase(plain):
        return Fault.LOOP
    return Fault.LANGUAGE if _is_foreign(plain, request, template) else None


def _plain(text: str) -> str:
    """Lower case, one form of each letter, straight apostrophes, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).replace("’", "'").lower().split())


def _words(plain: str) -> list[str]:
    return re.findall(r"\w+", plain)


def _refuses(plain: str, language: Refusal) -> bool:
    """Whether a text refuses in its first words; one that begins with a quotation mark says what somebody else says."""
    apology, inability, opening = _patterns(language)
    if opening.match(plain):
        return True
    begun = apology.match(plain)
    if not begun:
        return False
    rest = plain[begun.end() :]
    return bool(inability.search(rest[: RULES.reach])) or not any(letter.isalnum() for letter in rest)


@cache
def _patterns(language: Refusal) -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """A language's patterns, compiled: apology and opening at the start behind decoration, inability anywhere."""
    starts = (f"{_DECORATION}(?:{pattern})" for pattern in (language.apology, language.opening))
    apology, opening = (re.compile(unicodedata.normalize("NFKC", start)) for start in starts)
    return apology, re.compile(unicodedata.normalize("NFKC", language.inability)), opening


def _is_foreign(plain: str, request: str, template: str) -> bool:
    """Whether hardly any letter is of a script of the request."""
    own, scripts = _scripts_of_template(template) | set(_scripts(request)), _scripts(plain)
    letters = scripts.total()
    ours = sum(count for script, count in scripts.items() if script in own)
    return bool(own) and letters >= RULES.least_letters and ours < RULES.least_own_script * letters


@cache
def _scripts_of_template(template: str) -> frozenset[str]:
    return frozenset(_scripts(template))


def _scripts(text: str) -> Counter[str]:
    """Letters by script, by the first word of their names: LATIN, CYRILLIC, CJK, HIRAGANA, ..."""
    scripts = Counter[str]()
    for letter, count in Counter(text).items():
        if letter.isalpha():
            scripts[_script(letter)] += count
    return scripts


@cache
def _script(letter: str) -> str:
    return unicodedata.name(letter, "?").split()[0]


def _echoes(words: list[str], request: str, template: str) -> bool:
    runs = zip(*(words[start:] for start in range(RULES.echoed_words)), strict=False)
    return words == _words(_plain(request)) or any(run in _shared_runs(template) for run in runs)


@cache
def _shared_runs(template: str) -> frozenset[tuple[str, ...]]:
    """Every run of `echoed_words` words of a template, none of them across its gap."""
    parts = (_words(_plain(part)) for part in template.split("{request}"))
    length = RULES.echoed_words
    return frozenset(tuple(part[n : n + length]) for part in parts for n in range(len(part) - length + 1))


def _ends_on_one_piece(plain: str) -> bool:
    """Whether the last characters are one piece again and again; a loop goes on to the end, wherever it began."""
    text = plain.rstrip(" .,;:!?。、…")
    for period in range(1, min(RULES.longest_period, len(text) // RULES.least_repeats) + 1):
        repeats = max(RULES.least_repeats, -(-RULES.least_looped // period))
        if text.endswith(text[-period:] * repeats):
            return True
    return False


def _is_one_phrase(plain: str) -> bool:
    """Whether half of a text is one phrase, its numbers left out: "1. a man stands. 2. a man stands. ..." """
    phrases = Counter(re.sub(r"[\d\W]+", " ", phrase).strip() for phrase in _PHRASE_ENDS.split(plain))
    return any(
        count >= RULES.least_equal_phrases and len(phrase) >= RULES.least_phrase and 2 * count * len(phrase) >= len(plain)
        for phrase, count in phrases.items()
    )
