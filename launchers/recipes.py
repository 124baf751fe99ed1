"""`crem recipes`: what there is to train, the paper's figures beside it, and every value of a recipe."""

import json
from collections.abc import Iterable

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
    """Print our own recipes, then a line for every row that the paper prints: its recipe, and the paper's figures.

    Nothing of that table was measured here; what was stands in docs/experiments.md.

    \b
    Example:
      crem recipes list
    """
    from pipeline.recipes import OWN, load
    from pipeline.recipes.printed import TABLES

    click.echo("Our own, for small machines")
    for name in OWN:
        click.echo(f"  {name:<10}  {load(name).summary}")
    click.echo("\nRows of the CREM paper (arXiv 2602.19091). All figures are the paper's, in percent; none was measured here.")
    for table in TABLES:
        click.echo(f"\nTable {table.number}: {table.title}")
        click.echo(_line("  row", "recipe", table.columns))
        for row in table.rows:
            figures = ("-" if figure is None else str(figure) for figure in row.figures)
            click.echo(_line(f"  {row.label}", row.recipe, figures))


def _line(label: str, recipe: str, cells: Iterable[str]) -> str:
    return f"{label:<21} {recipe:<21}" + "".join(f"{cell:>8}" for cell in cells)


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
