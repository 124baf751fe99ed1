"""What pandas makes of a table's texts: VLMEvalKit reads question files with it, so its figures hold these accidents.

Some words become missing values, so that an option "None" is not there; a column of numbers alone becomes numbers, so that an
option "007" is 7, and "3" beside a missing one 3.0.
"""

import re
from collections.abc import Mapping, Sequence

from eval.verdicts import MISSING_WORDS

_INTEGER = re.compile(r"[+-]?\d{1,18}")
_REAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_TRUTH = {"true": "True", "false": "False"}


def as_pandas_reads(rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows with the texts of `columns` as pandas would print them; empty where it finds nothing."""
    out = [dict(row) for row in rows]
    for name in columns:
        for row, text in zip(out, _column([row[name] for row in rows]), strict=True):
            row[name] = text
    return out


def _column(texts: Sequence[str]) -> list[str]:
    there = [text.strip() for text in texts if text not in MISSING_WORDS]
    is_whole = len(there) == len(texts)
    if there and all(_INTEGER.fullmatch(text) for text in there):
        return [_printed(text, int if is_whole else float) for text in texts]
    if there and all(_REAL.fullmatch(text) for text in there):
        return [_printed(text, float) for text in texts]
    if there and all(text.lower() in _TRUTH and text in (text.lower(), text.upper(), text.capitalize()) for text in there):
        return ["" if text in MISSING_WORDS else _TRUTH[text.strip().lower()] for text in texts]
    return ["" if text in MISSING_WORDS else text for text in texts]


def _printed(text: str, kind: type[int] | type[float]) -> str:
    return "" if text in MISSING_WORDS else str(kind(text))
