"""`crem recipes`: what there is to train, and every value of it."""

import json

import click


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
@click.argument("name")
def show_recipe(name: str) -> None:
    """Print every value of the recipe NAME as JSON, defaults included.

    \b
    Example:
      crem recipes show tiny
    """
    from pipeline.manifest import canonical_json
    from pipeline.recipes import load

    click.echo(json.dumps(json.loads(canonical_json(load(name))), indent=2))
