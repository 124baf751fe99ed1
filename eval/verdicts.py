"""One answer read by the rules: what it says, and what that is worth."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from eval.option_matcher import UNKNOWN, OptionMatcher, yes_or_no
from eval.questions import QuestionRow

MISSING_WORDS = frozenset(
    "#N/A|#N/A N/A|#NA|-1.#IND|-1.#QNAN|-NaN|-nan|1.#IND|1.#QNAN|<NA>|N/A|NA|NULL|NaN|None|n/a|nan|null|".split("|")
)
"""Texts that pandas takes for missing values, in question files and in the spreadsheets that predictions travel in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How answers are read. `parity` follows VLMEvalKit where its figures come from an accident, see docs/decisions."""

    matcher: OptionMatcher
    parity: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What an answer was read as (None: no rule found anything), and its worth, 0 to 1.

    `credit` is None where nothing here can tell it: free words without a judge, a question without a public answer.
    """

    row: QuestionRow
    prediction: str
    parsed: str | None
    credit: float | None

    @property
    def is_hit(self) -> bool:
        """Whether the answer is wholly right."""
        return self.credit == 1

    @property
    def value(self) -> float:
        """The credit; 0 where there is none."""
        return self.credit or 0.0


def verdict(row: QuestionRow, prediction: str, rules: Rules) -> Verdict:
    """Read one answer by the rules for its kind. Free words get no credit here: a benchmark or a judge gives it."""
    text = read_back(prediction) if rules.parity else prediction
    parsed: str | None = None
    if row.kind == "choice":
        parsed = rules.matcher.match(text, row.options)
    elif row.kind == "yes_no":
        said = yes_or_no(text)
        parsed = None if said == UNKNOWN else said
    is_known = row.kind != "open" and bool(row.answer)
    return Verdict(row=row, prediction=prediction, parsed=parsed, credit=float(parsed == row.answer) if is_known else None)


def read_back(prediction: str) -> str:
    """An answer as it comes out of a spreadsheet that pandas reads: what looks like a missing value has become "nan"."""
    return "nan" if prediction in MISSING_WORDS else prediction


def scored(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Those that have a credit."""
    return [each for each in verdicts if each.credit is not None and math.isfinite(each.credit)]
