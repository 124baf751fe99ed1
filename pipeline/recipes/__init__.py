"""Recipes by name. A name maps to a function, so a recipe is built, and checked, only when it is asked for."""

import difflib
from collections.abc import Callable

from pipeline.errors import ConfigError
from pipeline.recipe import Recipe
from pipeline.recipes import crem
from pipeline.recipes.ablations import ABLATIONS
from pipeline.recipes.tiny import mini, tiny, tiny_full

OWN: dict[str, Callable[[], Recipe]] = {"tiny": tiny, "tiny_full": tiny_full, "mini": mini}
"""Recipes for small machines, with values of our own."""

RECIPES: dict[str, Callable[[], Recipe]] = {
    **OWN,
    "crem_2b": crem.crem_2b,
    "crem_2b_generation": crem.crem_2b_generation,
    "crem_2b_retrieval": crem.crem_2b_retrieval,
    "crem_7b": crem.crem_7b,
    "crem_7b_generation": crem.crem_7b_generation,
    "crem_7b_retrieval": crem.crem_7b_retrieval,
    **ABLATIONS,
}


def load(name: str) -> Recipe:
    """The recipe of a name. Raises ConfigError with the nearest names."""
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise ConfigError(f"no recipe {name!r}; {hint}crem recipes list prints all names")
    return RECIPES[name]()
