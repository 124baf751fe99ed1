"""The whole chain at the smallest size that still has every part."""

from dataclasses import replace

import pytest

from pipeline import recipes
from pipeline.recipe import Recipe, ToyWorld
from tests.pipeline.corpus import small_recipe

NAME = "chain_test"


def chain_recipe() -> Recipe:
    """Six steps of a two-layer model over a toy world of a few hundred pictures."""
    toy = ToyWorld(seed=1, train_rows=112, eval_rows=60, conversations=60, mcq_rows=64)
    return replace(small_recipe(steps=4, checkpoint_every=2, evaluate_every=4), name=NAME, toy=toy)


@pytest.fixture(scope="session", autouse=True)
def chain_recipe_by_name() -> None:
    """Let `--recipe chain_test` find it in this process."""
    recipes.RECIPES[NAME] = chain_recipe
