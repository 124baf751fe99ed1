"""Options that several commands share, as decorators, and the context they make."""

from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from eval.components import COMPONENTS
from jobs.defaults import KINDS, STEP_TIMEOUT
from launchers.progress import Progress
from launchers.teacher_options import JUDGE_OPTIONS, TEACHER_OPTIONS
from pipeline.data.mmeb_train_sets import SPLITS
from pipeline.data.shard_plan import MAX_PIXELS
from pipeline.errors import ConfigError
from pipeline.tracking import default_uri
from pipeline.train.forecast.gpus import DEFAULT_GPU, GPUS

if TYPE_CHECKING:
    from jobs.stage import Context

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_RECIPE = "tiny"
DEFAULT_WORK = Path("work")

SETTINGS = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change a value of the recipe, as in phases.0.steps=100; may be given several times. Fields: crem recipes show NAME.",
)


_SHARED = (
    click.option(
        "--recipe",
        default=DEFAULT_RECIPE,
        metavar="NAME",
        help="What to train and how: a name of crem recipes list, a function of your own (my_recipe.py:fn), or a recipe.json.",
    ),
    SETTINGS,
    COMPONENTS,
    click.option(
        "--work",
        type=click.Path(path_type=Path, file_okay=False),
        default=DEFAULT_WORK,
        help="Folder for everything that is made: shards, checkpoints, results, runs.",
    ),
    click.option(
        "--data",
        type=click.Path(path_type=Path),
        help="Your own data folder (MMEB-train, MMEB-eval, conversations, mcq). Default: the toy world in <work>/toy.",
    ),
    click.option(
        "--force",
        is_flag=True,
        help="Run even what is done; what convert, synthesize, train and evaluate made before moves to <name>.old.",
    ),
)
_PICTURES = (
    click.option(
        "--max-pixels",
        type=click.IntRange(1),
        default=MAX_PIXELS,
        help="Pictures with more pixels are shrunk once. A recipe that asks for more (pixels.max_tokens) is refused.",
    ),
    click.option(
        "--no-verify",
        "verify",
        flag_value=False,
        type=bool,
        default=True,
        show_default=False,
        help="Do not decode the pictures: faster, but broken ones are met only in training.",
    ),
    click.option("--split", type=click.Choice(SPLITS), default=SPLITS[0], help="Which wordings of MMEB-train are converted."),
    click.option(
        "--corpus", "corpora", multiple=True, metavar="FILE.py:FN", help="A corpus of your own beside those of the data folder."
    ),
)
_SLICE = (
    click.option("--shard-index", type=click.IntRange(0), metavar="I", help="Make only slice I of --num-shards, from 0."),
    click.option(
        "--num-shards", type=click.IntRange(1), metavar="N", help="Slices of the whole work, such as tasks of a Slurm array."
    ),
)
_SAMPLE = (
    click.option(
        "--sample", type=click.IntRange(1), metavar="N", help="Ask about N sides alone, and write them as an HTML sheet."
    ),
    click.option(
        "--dry-run", is_flag=True, help="Ask about a few sides, and say what the rest takes: requests, tokens, hours, cost."
    ),
    click.option(
        "--price", nargs=2, type=click.FloatRange(0), metavar="IN OUT", help="Dry run: price of a million tokens in and out."
    ),
)
_MODEL = (
    click.option(
        "--model-folder",
        type=click.Path(path_type=Path),
        help="Downloaded folder of the recipe's backbone, such as Qwen2-VL-2B-Instruct. A tiny recipe needs none.",
    ),
)
_PHASE = (
    click.option(
        "--phase", default="", metavar="NAME", help="Which phase of the recipe is trained; need not be said where there is one."
    ),
)
_TRAINING = (
    click.option(
        "--start",
        type=click.Path(path_type=Path),
        help="Checkpoint or exported folder whose weights the first phase begins with, in place of the backbone's.",
    ),
    click.option("--processes", type=click.IntRange(1), default=1, help="Training processes on this machine: one a GPU."),
    click.option(
        "--workers",
        type=click.IntRange(0),
        help="Processes of each rank that prepare batches ahead (default: its share of the cores less one, 1 to 8).",
    ),
    click.option(
        "--step-timeout",
        type=click.FloatRange(1),
        default=STEP_TIMEOUT,
        metavar="SECONDS",
        help="A step, an evaluation on the way or a checkpoint that takes longer ends the run as hung, with its stacks printed.",
    ),
    click.option(
        "--stop-after", type=click.IntRange(1), metavar="STEP", help="End with a checkpoint behind this step, to go on later."
    ),
)
_EVALUATION = (
    click.option("--only", multiple=True, type=click.Choice(KINDS), help="Measure this alone; may be given several times."),
    click.option("--allow-changed", is_flag=True, help="Score a known benchmark's file that is not the published one."),
    click.option(
        "--judge",
        default="exact",
        show_default=True,
        metavar="exact|MODEL|FOLDER",
        help="Who reads answers that the rules cannot: nobody, a served model (--judge-url), a language model of a folder.",
    ),
    click.option("--judge-url", "judge_urls", multiple=True, help="Where the judge is served, or a file of addresses."),
    click.option(
        "--no-untrained",
        "untrained",
        flag_value=False,
        type=bool,
        default=True,
        show_default=False,
        help="Measure the trained model alone.",
    ),
    click.option(
        "--no-blank",
        "blank",
        flag_value=False,
        type=bool,
        default=True,
        show_default=False,
        help="Leave out retrieval with blank pictures.",
    ),
    click.option(
        "--checkpoint", default="", metavar="STEP|PATH", help="The model: a step of the training, finished or not, or a folder."
    ),
)

_PREFLIGHT = (
    click.option("--dry-run", is_flag=True, help="Print recipe, DeepSpeed JSON, memory, FLOPs and hours; train nothing."),
    click.option("--gpus", type=click.IntRange(1), default=8, help="Dry run: number of GPUs."),
    click.option("--gpu", type=click.Choice(sorted(GPUS)), default=DEFAULT_GPU, help="Dry run: their kind."),
    click.option("--visual-tokens", type=click.IntRange(1), help="Dry run: of every picture (default: the recipe's most)."),
    click.option(
        "--model-folder", type=click.Path(path_type=Path), help="Dry run: folder whose config.json tells the model's shape."
    ),
)


def shared(command: Command) -> Command:
    """Options of every stage: recipe and changes of it, work folder, data folder, force."""
    return _with(_SHARED, command)


def take_shared(given: dict[str, Any]) -> dict[str, Any]:
    """Move the values of the shared options out of all that a command was given: arguments of `make_context`."""
    return {name: given.pop(name) for name in ("recipe", "settings", "work", "data", "force")}


def pictures(command: Command) -> Command:
    """What enters the shards: which rows, and what becomes of their pictures."""
    return _with(_PICTURES, command)


def one_slice(command: Command) -> Command:
    """Which part of a conversion or a count is to be made."""
    return _with(_SLICE, command)


def sample(command: Command) -> Command:
    """A look before a large synthesis."""
    return _with(_SAMPLE, command)


def take_sample(given: dict[str, Any]) -> dict[str, Any]:
    """Move the values of the options of a sample out of all that a command was given."""
    return {name: given.pop(name) for name in ("sample", "dry_run", "price")}


def teacher(command: Command) -> Command:
    """Options of the endpoint that describes pictures."""
    return _with(TEACHER_OPTIONS, command)


def judge(command: Command) -> Command:
    """Options of the endpoint that judges mined candidates."""
    return _with(JUDGE_OPTIONS, command)


def model(command: Command) -> Command:
    """Where the published backbone lies."""
    return _with(_MODEL, command)


def phase(command: Command) -> Command:
    """Which phase is trained."""
    return _with(_PHASE, command)


def training(command: Command) -> Command:
    """How many processes and workers."""
    return _with(_TRAINING, command)


def evaluation(command: Command) -> Command:
    """What is measured, and of which model."""
    return _with(_EVALUATION, command)


def preflight(command: Command) -> Command:
    """A dry run, and the machines that it is about."""
    return _with(_PREFLIGHT, command)


def take_preflight(given: dict[str, Any]) -> dict[str, Any]:
    """Move the values of the options of a dry run out of all that a command was given."""
    return {name: given.pop(name) for name in ("gpus", "gpu", "visual_tokens", "model_folder")}


def needed(machine: dict[str, Any]) -> tuple[str, ...]:
    """Folders of which a data folder must hold one to be converted: none where the user's own corpora may be all there is."""
    from pipeline.data.mmeb import TRAIN
    from pipeline.data.sharegpt4v_release import FOLDERS

    return () if machine.get("corpora") else (TRAIN, *FOLDERS)


def is_quiet() -> bool:
    """Whether the command was called with --quiet."""
    return bool(click.get_current_context().find_root().params.get("quiet", False))


def make_context(
    *, recipe: str, settings: tuple[str, ...], work: Path, data: Path | None, force: bool, needs: tuple[str, ...] = ()
) -> "Context":
    """The context that the shared options describe. The data folder must hold one of the folders `needs`, if any.

    Raises ConfigError for a recipe or a setting that cannot work, a data folder that is not there or holds none of the layout,
    or a work folder inside of it.
    """
    from jobs.stage import Context, silent
    from pipeline.recipes.source import resolve

    resolved = resolve(recipe, settings)
    if data is not None:
        _check_data(data, work, needs)
    return Context(
        work=work,
        data=data or work / "toy",
        recipe=resolved,
        tracking=default_uri(work),
        force=force,
        progress=silent if is_quiet() else Progress(),
    )


def _check_data(data: Path, work: Path, needs: tuple[str, ...]) -> None:
    if not data.is_dir():
        raise ConfigError(f"--data {data}: no such folder")
    if needs and not any((data / name).is_dir() for name in needs):
        first, *others = needs
        raise ConfigError(f"--data {data}: no {first} folder in it, nor {' or '.join(others)}; see docs/data.md for the layout")
    if work.resolve().is_relative_to(data.resolve()):
        raise ConfigError(f"--work {work}: lies inside the data folder; name a folder outside of it")


def _with(options: tuple[Callable[[Command], Command], ...], command: Command) -> Command:
    """The command with the options, in the order they are listed."""
    return reduce(lambda wrapped, option: option(wrapped), reversed(options), command)
