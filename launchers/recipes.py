"""`crem recipes`: what there is to train, the paper's figures beside it, and every value of a recipe."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from eval.components import COMPONENTS
from launchers import options

if TYPE_CHECKING:
    from pipeline.recipes.printed import PrintedTable

WIDTH = 100
"""Characters of a line."""


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
    """Print every recipe by method, then a line for every row that the papers print: its recipe, and published figures.

    A row without a recipe (-) is a model of others that a paper prints beside its own, or what no recipe says yet. Nothing of the
    tables was measured here; what was stands in docs/experiments.md.

    \b
    Example:
      crem recipes list
    """
    from pipeline.recipes import METHODS
    from pipeline.recipes.printed_others import PAPERS

    width = max(len(name) for recipes in METHODS.values() for name in recipes)
    for method, recipes in METHODS.items():
        click.echo(method)
        for name, made in recipes.items():
            click.echo(click.wrap_text(made().summary, WIDTH, f"  {name:<{width}}  ", " " * (width + 4)))
        click.echo()
    for paper, tables in PAPERS.items():
        click.echo(f"Rows of {paper}. All figures are published ones, in percent;\nnone was measured here.")
        for table in tables:
            click.echo(f"\nTable{f' {table.number}' if table.number else ''}: {table.title}")
            for line in _lines(table):
                click.echo(line)
        click.echo()


def _lines(table: "PrintedTable") -> Iterator[str]:
    """The rows of a table under their header, each column as wide as its longest cell."""
    cells = [["row", "recipe", *table.columns]]
    for row in table.rows:
        figures = ("-" if figure is None else str(figure) for figure in row.figures)
        cells.append([row.label, row.recipe or "-", *figures])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for label, recipe, *rest in cells:
        names = f"  {label:<{widths[0]}}  {recipe:<{widths[1]}} "
        yield names + "".join(f" {cell:>{width}}" for cell, width in zip(rest, widths[2:], strict=True))


@recipes.command("show")
@click.argument("recipe", metavar="NAME")
@options.SETTINGS
@COMPONENTS
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
