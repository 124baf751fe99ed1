"""`crem recipes`: what there is to train, the paper's figures beside it, and every value of a recipe."""

import json

import click

from launchers import options


@click.group()
def recipes() -> None:
    """Look at the recipes: what to train and how, as values.

    \b
    Examples:
      crem recipes list
      crem recipes show crem_2b
    """


@recipes.command("list")
def list_recipes() -> None:
    """Print the name and a summary of every recipe.

    \b
    Example:
      crem recipes list
    """
    from pipeline.recipes import RECIPES, load

    width = max(map(len, RECIPES))
    for name in sorted(RECIPES):
        click.echo(f"{name:<{width}}  {load(name).summary}")


@recipes.command("show")
@click.argument("recipe", metavar="NAME")
@options.SETTINGS
@click.option("--diff", metavar="OTHER", help="Print only what differs from recipe OTHER: field, OTHER's value, NAME's value.")
def show_recipe(recipe: str, settings: tuple[str, ...], diff: str | None) -> None:
    """Print every value of the recipe NAME as JSON, defaults included, or what differs from another recipe.

    NAME and OTHER are what --recipe takes elsewhere: a name of the list, my_recipe.py:fn, or a recipe.json.

    \b
    Examples:
      crem recipes show tiny
      crem recipes show tiny --set tokens.count=8 --diff crem_2b
    """
    from pipeline.manifest import canonical_json
    from pipeline.recipe_diff import differences
    from pipeline.recipes.source import resolve

    shown = resolve(recipe, settings)
    if diff is None:
        click.echo(json.dumps(json.loads(canonical_json(shown)), indent=2))
        return
    for difference in differences(resolve(diff), shown):
        click.echo(f"{difference.path}: {difference.old} -> {difference.new}")
