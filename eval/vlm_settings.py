"""How questions are asked and answers read: values with names of their own where others use them together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from eval.option_matcher import DEFAULT_MATCHER
from eval.question_pictures import Alpha
from eval.results import Setting
from pipeline.asked_as import AskedAs, SystemLine

Mode = Literal["native", "compressed", "swapped"]
"""`native`: pictures and question. `compressed`: the question alone, behind the picture's compression tokens. `swapped`: the
same with another row's tokens, so that only what needs no picture is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VlmSettings:
    """How questions are asked and answers read; all of it goes into the result.

    `max_new_tokens` 0 is the benchmark's own, `min_tokens` and `max_tokens` 0 are the recipe's (visual tokens of a picture).
    `alpha` says what lies behind transparent pictures. `parity` reads and scores as VLMEvalKit does, accidents included.
    """

    matcher: str = DEFAULT_MATCHER
    prompt_style: str = "qwen2-vl"
    max_new_tokens: int = 0
    min_tokens: int = 0
    max_tokens: int = 0
    system: SystemLine = "recipe"
    alpha: Alpha = "white"
    parity: bool = False
    allow_changed: bool = False
    batch_rows: int = 64

    @property
    def way(self) -> AskedAs:
        """What the model is told of it. White space at the end of a prompt is part of the style `default`."""
        return AskedAs(
            min_tokens=self.min_tokens,
            max_tokens=self.max_tokens,
            system=self.system,
            keeps_space=self.prompt_style == "default",
        )

    @property
    def decisive(self) -> Mapping[str, Setting]:
        """What decides a result, by name."""
        names = ("matcher", "prompt_style", "max_new_tokens", "min_tokens", "max_tokens", "system", "alpha", "parity")
        return {name: getattr(self, name) for name in names}


DEFAULTS = VlmSettings()

PRESETS: Mapping[str, VlmSettings] = {
    "recipe": DEFAULTS,
    "vlmevalkit": VlmSettings(max_new_tokens=2048, min_tokens=1280, max_tokens=16384, system="model", alpha="drop", parity=True),
}
"""`vlmevalkit`: how its class for Qwen2-VL asks; small pictures are enlarged to 1,280 tokens (1,280 x 28 x 28 pixels)."""
