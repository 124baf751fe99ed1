"""How questions are asked and answers read: values with names of their own where others use them together."""

from dataclasses import dataclass
from typing import Literal

from eval.option_matcher import DEFAULT_MATCHER

Mode = Literal["native", "compressed", "swapped"]
"""`native`: pictures and question. `compressed`: the question alone, behind the picture's compression tokens. `swapped`: the
same with another row's tokens, so that only what needs no picture is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VlmSettings:
    """How questions are asked and answers read; all of it goes into the result.

    `max_new_tokens` 0 is the benchmark's own. `parity` reads and scores as VLMEvalKit does, accidents included.
    """

    matcher: str = DEFAULT_MATCHER
    prompt_style: str = "qwen2-vl"
    max_new_tokens: int = 0
    parity: bool = False
    allow_changed: bool = False
    batch_rows: int = 64


DEFAULTS = VlmSettings()
