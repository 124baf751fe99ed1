"""Recipes by name. A name maps to a function, so a recipe is built, and checked, only when it is asked for."""

import difflib
from collections.abc import Callable

from pipeline.errors import ConfigError
from pipeline.recipe import Recipe
from pipeline.recipe_diff import differences
from pipeline.recipes import crem
from pipeline.recipes.ablations import ABLATIONS
from pipeline.recipes.baselines import BASELINES
from pipeline.recipes.btoks import BTOKS
from pipeline.recipes.coma import COMA
from pipeline.recipes.elastic import crem_2b_elastic
from pipeline.recipes.magic import MAGIC
from pipeline.recipes.tiny import mini, mini_sets, tiny, tiny_elastic, tiny_full
from pipeline.recipes.tiny_magic import tiny_magic, tiny_magic_reranker
from pipeline.recipes.tiny_methods import TINY_METHODS

OWN: dict[str, Callable[[], Recipe]] = {
    "tiny": tiny,
    "tiny_full": tiny_full,
    "tiny_elastic": tiny_elastic,
    "mini": mini,
    "mini_sets": mini_sets,
    **TINY_METHODS,
    "tiny_magic": tiny_magic,
    "tiny_magic_reranker": tiny_magic_reranker,
}
"""Recipes for small machines, with values of our own."""

METHODS: dict[str, dict[str, Callable[[], Recipe]]] = {
    "Our own, for small machines": OWN,
    "CREM (arXiv 2602.19091)": {
        "crem_2b": crem.crem_2b,
        "crem_2b_generation": crem.crem_2b_generation,
        "crem_2b_retrieval": crem.crem_2b_retrieval,
        "crem_7b": crem.crem_7b,
        "crem_7b_generation": crem.crem_7b_generation,
        "crem_7b_retrieval": crem.crem_7b_retrieval,
        **ABLATIONS,
    },
    "Elastic tokens (ours)": {"crem_2b_elastic": crem_2b_elastic},
    "CoMa (arXiv 2511.08480)": COMA,
    "Bottleneck Tokens (arXiv 2604.11095)": BTOKS,
    "Magic-MM-Embedding (arXiv 2602.05275)": MAGIC,
    "Baselines": BASELINES,
}
"""Recipes by name, and these by method."""

RECIPES: dict[str, Callable[[], Recipe]] = {name: made for recipes in METHODS.values() for name, made in recipes.items()}


def load(name: str) -> Recipe:
    """The recipe of a name. Raises ConfigError with the nearest names."""
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise ConfigError(f"no recipe {name!r}; {hint}crem recipes list prints all names")
    return RECIPES[name]()


def described(recipe: Recipe) -> str:
    """A recipe's name and, where it is one of ours with other values, the first fields that differ: "tiny, other in seed"."""
    if recipe.name not in RECIPES:
        return recipe.name
    paths = [difference.path for difference in differences(load(recipe.name), recipe)]
    shown = [*paths[:3], f"{len(paths) - 3} more"] if len(paths) > 3 else paths
    return f"{recipe.name}, other in {', '.join(shown)}" if paths else recipe.name
