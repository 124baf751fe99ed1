"""Options that name the model of an evaluation command, as one decorator."""

from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import click

from eval.components import COMPONENTS
from pipeline.encode.embedding_cache import FOLDER
from pipeline.encode.ranks import Ranks
from pipeline.encode.share import Encoding
from pipeline.presets import PRESETS

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
    COMPONENTS,
    click.option("--work", type=click.Path(path_type=Path), default=Path("work"), show_default=True, help="Work folder."),
    click.option("--device", help="Where the model runs, as torch names it. Default: cuda where there is a GPU, else cpu."),
    click.option(
        "--dtype", type=click.Choice(["float32", "bfloat16"]), help="Number type. Default: bfloat16 on a GPU, float32 on a CPU."
    ),
)


_PRESET = (
    click.option(
        "--preset",
        type=click.Choice(list(PRESETS)),
        help="--model is a folder that others published: read it with its own prompt, pooling and positions.",
    ),
    click.option("--base", type=click.Path(path_type=Path), help="Folder of the model that a published adapter belongs to."),
)

_ENCODING = (
    click.option(
        "--processes", type=click.IntRange(1), default=1, show_default=True, help="Processes on this machine: one a GPU."
    ),
    click.option("--cache", type=click.Path(path_type=Path), help="Folder of kept embeddings. Default: <work>/embeddings."),
    click.option(
        "--workers",
        type=click.IntRange(0),
        help="Processes that decode pictures beside the model. Default: the cores there are less one, 1 to 8.",
    ),
)


def subject_options(command: Command) -> Command:
    """The options whose values are the arguments of `find_subject`, in the order they are listed."""
    return reduce(lambda wrapped, option: option(wrapped), reversed(_SUBJECT), command)


def preset_options(command: Command) -> Command:
    """Further arguments of `find_subject`, for commands that only embed."""
    return reduce(lambda wrapped, option: option(wrapped), reversed(_PRESET), command)


def encoding_options(command: Command) -> Command:
    """The options of `take_encoding`, for a command that has `subject_options` too."""
    return reduce(lambda wrapped, option: option(wrapped), reversed(_ENCODING), command)


def take_encoding(given: dict[str, Any]) -> Encoding:
    """How sides are encoded, by values that are taken out of all that a command was given. Every rank must call it."""
    cache = given.pop("cache") or given["work"] / FOLDER
    return Encoding.usual(cache, Ranks.join(), workers=given.pop("workers"))
