"""Options that name the model of an evaluation command, as one decorator."""

from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

_SUBJECT = (
    click.option("--run-id", help="Run of the train stage, as the MLflow UI shows it."),
    click.option("--model", type=click.Path(path_type=Path), help="Checkpoint, export or model folder, instead of a run."),
    click.option(
        "--recipe", help="Recipe of a bare model folder, or of one with classes of your own: NAME, file.py:fn or recipe.json."
    ),
    click.option(
        "--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Change a value of the recipe that --recipe names."
    ),
    click.option("--work", type=click.Path(path_type=Path), default=Path("work"), show_default=True, help="Work folder."),
    click.option("--device", help="Where the model runs, as torch names it. Default: cuda where there is a GPU, else cpu."),
    click.option(
        "--dtype", type=click.Choice(["float32", "bfloat16"]), help="Number type. Default: bfloat16 on a GPU, float32 on a CPU."
    ),
)


def subject_options(command: Command) -> Command:
    """The options whose values are the arguments of `find_subject`, in the order they are listed."""
    return reduce(lambda wrapped, option: option(wrapped), reversed(_SUBJECT), command)
