"""The `crem` command: one subcommand a stage, `run` for all of them, `recipes` to look around.

Heavy libraries are imported inside the commands, so that help and mistakes are answered at once.
"""

import logging
import os
import sys
import warnings
from typing import Any

import click

from jobs.ranks import end
from launchers import options
from launchers.cache import cache
from launchers.compare import compare
from launchers.data import data, one_slice
from launchers.doctor import doctor
from launchers.drill import drill
from launchers.environment import set_usual
from launchers.evaluate import evaluate
from launchers.exit_codes import INTERRUPTED, STOPPED
from launchers.export import export
from launchers.judge import judge
from launchers.measure import measure
from launchers.mine import mine
from launchers.preflight import forecast
from launchers.progress import CLEAR_LINE
from launchers.recipes import recipes
from launchers.rehearse import rehearse
from launchers.report import report
from launchers.run import run
from launchers.sample import sample_synthesis
from launchers.stages import one_stage
from launchers.status import cancel, logs, status
from launchers.sync import send
from pipeline.errors import PipelineError, StoppedError

PACKAGES = ("pipeline", "data_prep", "eval", "jobs", "launchers")


def main() -> None:
    """Entry point: mistakes end in one line and exit code 1 (2 for a wrong command line), Ctrl-C in one line and 130.

    A training that a signal stopped ends with 75, one whose own watch found it hung with 70.
    """
    try:
        code = group.main(prog_name="crem", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except StoppedError as error:
        click.echo(str(error), err=True)
        code = STOPPED
    except PipelineError as error:
        code = _complain(str(error))
    except OSError as error:
        code = _complain(f"{error.filename or 'the file system'}: {error.strerror or error}")
    except (click.Abort, KeyboardInterrupt):
        click.echo("\nstopped; the same command goes on from here", err=True)
        code = INTERRUPTED
    end(code if isinstance(code, int) else 0)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 100})
@click.option("--quiet", is_flag=True, help="Only results and errors; no progress.")
def group(quiet: bool) -> None:
    """Train and evaluate compression-token multimodal embedders: corpora to report, one command.

    A run is a chain of stages. Each keeps its output in a folder below --work and is skipped while its inputs and settings
    stay the same, so any command may be repeated, and a stopped one goes on.

    \b
      toy         draw the toy world, a small corpus in the layout of MMEB and ShareGPT-4V
      convert     check a corpus and write it as WebDataset shards with an index
      synthesize  ask a vision-language model for the questions and answers that the recipe learns
      model       make the tiny backbone, or note where the published one lies
      measure     count the tokens of every row
      train       the recipe's objective under DeepSpeed
      evaluate    MMEB P@1, questions about pictures, reconstruction from the tokens alone
      report      one HTML page over it all

    Before all of it, doctor says what would stop a run here. Before a phase that asks for mined negatives stands mine, and
    behind it judge where they are judged. Beside them, data looks after shards and shows what a step reads, cache after kept
    embeddings, compare holds two evaluated models against each other, export writes a trained model for other programs, and
    recipes shows what there is to train. On a Slurm cluster run submits the chain, and status, logs and cancel look after it.
    Notes of runs that the tracker's server did not take are sent by sync.

    \b
    Try the whole chain in some fifteen minutes on two CPU cores:
      crem run --recipe tiny
    The same on your own data, or only a part of it:
      crem run --recipe tiny --data my_data --work my_work
      crem run --recipe tiny --until train
    With a changed value, or with a recipe of your own:
      crem run --recipe tiny --set tokens.count=8 --work work/k8
      crem run --recipe my_recipe.py:fn
    Again, though it is done:
      crem evaluate --recipe tiny --force
    """
    _set_up(quiet)


@group.command()
@options.shared
def toy(**shared: Any) -> None:
    """Draw the toy world: coloured shapes in the file layout of the public releases.

    Its size and seed stand in the recipe. Look at it to see what your own data folder must look like.

    \b
    Example:
      crem toy --recipe tiny --work work
      ls work/toy work/toy/MMEB-train
    """
    one_stage("toy", shared)


@group.command()
@options.shared
@options.pictures
@click.option("--workers", "convert_workers", type=click.IntRange(1), default=1, help="Processes; they write the same bytes.")
@options.one_slice
def convert(shard_index: int | None, num_shards: int | None, **given: Any) -> None:
    """Write a corpus as WebDataset shards with an index; every picture is decoded once.

    Rows that cannot be used are counted and listed with their reasons in <work>/shards/<dataset>/rejects.jsonl. Stopped at any
    moment, the same command goes on with the shards that are missing.

    With --shard-index only a slice is made, next to others that run at the same time on any machine that shares the folders; one
    that failed is run again. Afterwards crem data merge makes the whole.

    \b
    Examples:
      crem convert --data my_data --work my_work --workers 8
      crem convert --data my_data --work my_work --shard-index 3 --num-shards 16
      crem data merge --data my_data --work my_work --num-shards 16
    """
    if (shard_index is None) != (num_shards is None):
        raise click.UsageError("--shard-index and --num-shards belong together; give both, or none")
    shared = options.take_shared(given)
    if shard_index is None or num_shards is None:
        one_stage("convert", shared, given)
    else:
        one_slice("convert", shared, given, index=shard_index, of=num_shards)


@group.command()
@options.shared
@options.teacher
@options.one_slice
@options.sample
def synthesize(shard_index: int | None, num_shards: int | None, **given: Any) -> None:
    """Synthesize what the recipe learns about the sides of pairs: questions with answers.

    Most recipes ask each side one question. A side without pictures is asked to reconstruct its text, which needs no model; one
    with pictures is described by the model behind --url. Where a phase learns dialogues, the model lists three to five questions
    about each picture and answers them one after another. For the toy world a loopback server stands in. Answers are kept as
    they come. With --shard-index it asks about one slice alone; when all slices are done, the command without it takes in what
    they have and writes the side files.

    \b
    Example, with a model that vLLM serves on this machine:
      vllm serve Qwen/Qwen2.5-VL-7B-Instruct --port 8000
      crem synthesize --data my_data --work my_work --url http://127.0.0.1:8000/v1

    \b
    Before a large one, look at what it would say, and at what it would take:
      crem synthesize --data my_data --work my_work --url http://127.0.0.1:8000/v1 --sample 50

    \b
    Without a server, for small corpora, a model folder answers in this process:
      crem synthesize --data my_data --work my_work --local models/Qwen2.5-VL-3B-Instruct
    """
    from data_prep.synthesize_qa import slice_of

    wanted = options.take_sample(given)
    shared, part = options.take_shared(given), slice_of(shard_index, num_shards)
    if wanted["sample"] or wanted["dry_run"]:
        sample_synthesis(shared, given, count=wanted["sample"], price=wanted["price"])
    elif part is None:
        one_stage("synthesize", shared, given)
    else:
        one_slice("synthesize", shared, given, index=part.index, of=part.of)


@group.command()
@options.shared
@options.model
def model(**given: Any) -> None:
    """Make the recipe's untrained backbone, or note where the published one lies.

    A tiny recipe gets a random Qwen2-VL with a tokenizer trained on the corpus. A published recipe needs --model-folder.

    \b
    Examples:
      crem model --recipe tiny
      crem model --recipe crem_2b --work runs/crem_2b --model-folder models/Qwen2-VL-2B-Instruct
    """
    one_stage("model", options.take_shared(given), given)


@group.command()
@options.shared
@options.phase
@options.training
@options.preflight
def train(processes: int, dry_run: bool, **given: Any) -> None:
    """Train the recipe's objective under DeepSpeed, or go on from the newest checkpoint.

    On a cluster, launchers/slurm_train.sh runs this same command on every node.

    \b
    Examples:
      crem train --recipe tiny
      crem train --recipe crem_2b --work runs/crem_2b --processes 8
      crem train --recipe crem_2b --work runs/on --start runs/crem_2b/train/checkpoints/step-00002000
      crem train --recipe crem_2b --dry-run --gpus 8 --gpu a800-80g --model-folder models/Qwen2-VL-2B-Instruct
    """
    machines, shared = options.take_preflight(given), options.take_shared(given)
    if dry_run:
        forecast(shared, phase=given["phase"], **machines)
        return
    one_stage("train", shared, given, processes)


_LOOKING = (cancel, doctor, drill, logs, recipes, rehearse, send, status)
for command in (cache, compare, data, evaluate, export, judge, measure, mine, report, run, *_LOOKING):
    group.add_command(command)


def _complain(message: str) -> int:
    """Print an error as one line; returns the exit code."""
    click.echo(f"error: {' '.join(message.split())}", err=True)
    return 1


def _set_up(quiet: bool) -> None:
    """Environment, logging and warnings of the whole process, before anything heavy is imported."""
    set_usual(os.environ)
    warnings.simplefilter("ignore")
    level = logging.WARNING if quiet or os.environ.get("RANK", "0") != "0" else logging.INFO
    # On a terminal a message takes the line of the progress bar, which draws itself anew.
    logging.basicConfig(level=logging.WARNING, format=f"{CLEAR_LINE if sys.stderr.isatty() else ''}%(message)s")
    for name in PACKAGES:
        logging.getLogger(name).setLevel(level)


if __name__ == "__main__":
    main()
