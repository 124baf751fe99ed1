"""The chain of a recipe as Slurm jobs, each with the words of its command: those of the user's that the stage's command knows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from click.core import ParameterSource

from jobs.stage import Stage
from jobs.train import TrainStage
from launchers.data import data
from launchers.slurm.job import Job

ON_GPUS = ("mine", "evaluate")
"""Stages of one process that want a GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How large the jobs are: nodes and GPUs of each for training, and the slices of the conversion."""

    nodes: int = 1
    gpus_per_node: int = 8
    convert_tasks: int = 1


def chain_jobs(chain: Sequence[Stage], context: click.Context, shared: Sequence[str], shape: Shape) -> list[Job]:
    """The jobs of stages in order. `context` is that of `crem run`, `shared` the words that every stage gets."""
    return [job for stage in chain for job in _jobs_of(stage, context, tuple(shared), shape)]


def _jobs_of(stage: Stage, context: click.Context, shared: tuple[str, ...], shape: Shape) -> Iterator[Job]:
    """A stage as one job; a conversion in slices as an array of them and one that makes the whole."""
    command, _, phase = stage.name.partition("-")
    parent = context.find_root().command
    assert isinstance(parent, click.Group)
    words = [command, *shared, *spelled(context, parent.commands[command])]
    if command == "convert" and shape.convert_tasks > 1:
        yield Job(name="convert-slices", words=tuple(words), tasks=shape.convert_tasks)
        merge = spelled(context, data.commands["merge"])
        yield Job(name="convert", words=("data", "merge", *shared, *merge, "--num-shards", str(shape.convert_tasks)))
    elif command == "train":
        assert isinstance(stage, TrainStage)
        words += ["--phase", stage.recipe.phase.name]
        yield Job(name=stage.name, words=tuple(words[1:]), nodes=shape.nodes, gpus=shape.gpus_per_node, is_training=True)
    else:
        words += ["--phase", phase] if command in ("mine", "judge") else []
        yield Job(name=stage.name, words=tuple(words), gpus=min(1, shape.gpus_per_node) if command in ON_GPUS else 0)


def spelled(context: click.Context, command: click.Command) -> list[str]:
    """The options that the user gave on the command line of `context` and that another command has too, in its own spelling.

    Those that every stage gets in another form (recipe, folders) are left out. Paths become absolute.
    """
    words: list[str] = []
    for option in command.params:
        name = option.name or ""
        if name in _OF_EVERY_STAGE or context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        assert isinstance(option, click.Option)
        words += _words(option, context.params[name])
    return words


_OF_EVERY_STAGE = ("recipe", "settings", "components", "work", "data", "force", "processes", "until")


def _words(option: click.Option, value: object) -> list[str]:
    spelling = max(option.opts, key=len)
    if option.is_flag:
        return [spelling]
    values = value if option.multiple and isinstance(value, tuple) else (value,)
    return [word for one in values for word in (spelling, str(one.absolute() if isinstance(one, Path) else one))]
