"""A model asked questions in another way than its recipe's, over the same weights: so that others' settings can be followed."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pipeline.inference import EmbeddingModel

SystemLine = Literal["recipe", "model"]
"""`recipe`: the line that the model was trained with. `model`: the one that its own family's chat template puts in."""

OWN_SYSTEM_LINE = "You are a helpful assistant."
"""What the chat templates of Qwen2-VL and Qwen2.5-VL put in where no system line is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedAs:
    """Limits of visual tokens of a picture (0: the recipe's), the system line, whether white space around a question stays."""

    min_tokens: int = 0
    max_tokens: int = 0
    system: SystemLine = "recipe"
    keeps_space: bool = False


def asked_as(model: "EmbeddingModel", how: AskedAs) -> "EmbeddingModel":
    """The model with those settings; itself where there are none. Raises ConfigError for limits that cross.

    Its fingerprint stays: whoever keeps answers names the settings beside it.
    """
    if how == AskedAs():
        return model
    recipe, pixels = model.recipe, model.recipe.pixels
    least, most = how.min_tokens or pixels.min_tokens, how.max_tokens or pixels.max_tokens
    layout = recipe.phase.layout
    if how.system == "model" and layout.template == "chat":
        layout = replace(layout, system=OWN_SYSTEM_LINE)
    asked = replace(recipe, pixels=pixels.within(least, most)).with_phase(layout=layout)
    return replace(model, recipe=asked, builder=replace(model.builder, layout=layout, keeps_space=how.keeps_space))


def conditions(model: "EmbeddingModel") -> dict[str, str | int]:
    """What answers are given under besides weights and words: limits of visual tokens and pixels, number type, system line."""
    pixels, layout = model.recipe.pixels, model.recipe.phase.layout
    dtype = str(next(model.embedder.parameters()).dtype).removeprefix("torch.")
    area = pixels.factor**2
    return {
        "min_tokens": pixels.min_tokens,
        "max_tokens": pixels.max_tokens,
        "min_pixels": pixels.min_tokens * area,
        "max_pixels": pixels.max_tokens * area,
        "dtype": dtype,
        "system": layout.system,
    }
