"""The option that makes classes of a user's own files known, before a recipe, checkpoint or export names them."""

from pathlib import Path

import click


def _run_files(context: click.Context, parameter: click.Parameter, files: tuple[Path, ...]) -> None:
    if files:
        from pipeline.recipes.source import run_file

        for file in files:
            run_file(file, "--components")


COMPONENTS = click.option(
    "--components",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    metavar="FILE.py",
    callback=_run_files,
    is_eager=True,
    expose_value=False,
    help="File of your own whose classes a recipe.json, checkpoint or export names; --recipe my_recipe.py:fn needs none.",
)
