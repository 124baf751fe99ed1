"""Which model an evaluation command is about: a run of the tracker, a checkpoint folder or a model folder."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from eval.model_protocol import Model
from pipeline.errors import CheckpointError, ConfigError, PipelineError
from pipeline.tracking import default_uri, find_run

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model that was found but not loaded, the data folder its run read (None where unknown), and where its results go."""

    folder: Path
    recipe: str | None
    data: Path | None
    out: Path

    def load(self) -> Model:
        """Load the model. Raises CheckpointError, naming the folder and what it lacks."""
        # Pulls in torch, which --help and a wrong path must not wait for.
        from pipeline.inference import load_model
        from pipeline.recipes import load as load_recipe

        return load_model(self.folder, recipe=load_recipe(self.recipe) if self.recipe else None)

    def data_folder(self, given: Path | None) -> Path:
        """The data folder to evaluate on. Raises ConfigError when neither the user nor the run names one."""
        folder = given or self.data
        if folder is None:
            raise ConfigError("--data: this model does not say which data it was trained beside; name the data folder")
        return folder


def find_subject(*, run_id: str | None, model: Path | None, recipe: str | None, work: Path) -> Subject:
    """The model that `--run-id` or `--model` names.

    A run is looked up in the store of the work folder (or MLFLOW_TRACKING_URI); its newest whole checkpoint is taken. A bare
    model folder needs a recipe. Raises ConfigError unless exactly one of the two is given, CheckpointError for a bad folder.
    """
    if model is not None and run_id is None:
        return Subject(folder=newest_checkpoint(model), recipe=recipe, data=None, out=work / "eval" / model.resolve().name)
    if model is not None or run_id is None:
        raise ConfigError("give either --run-id or --model")
    tags = find_run(default_uri(work), run_id)
    if "crem.output" not in tags:
        raise ConfigError(f"--run-id {run_id}: this run wrote no model; take a run of the train stage")
    return Subject(
        folder=newest_checkpoint(Path(tags["crem.output"])),
        recipe=recipe or tags.get("crem.recipe"),
        data=Path(tags["crem.data"]) if tags.get("crem.data") else None,
        out=work / "eval" / run_id,
    )


def newest_checkpoint(folder: Path) -> Path:
    """The folder itself when it is a checkpoint or a model folder, else the newest whole checkpoint below it."""
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder; train first, or name a checkpoint or model folder")
    from pipeline.train.checkpoint import STATE, read_state, steps

    if (folder / STATE).is_file() or (folder / "config.json").is_file():
        return folder
    for candidate in steps(folder) or steps(folder / "checkpoints"):
        try:
            read_state(candidate)
        except CheckpointError as error:
            logger.warning("%s", error)
            continue
        return candidate
    raise CheckpointError(f"{folder}: neither a checkpoint nor a model folder, and none below it; train first")


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the command with one line on stderr and exit code 1 where the user can mend what went wrong."""
    try:
        yield
    except PipelineError as error:
        sys.exit(f"error: {error}")


def show_progress(what: str, done: int, total: int) -> None:
    """Progress on one line of a terminal; nothing where stderr is a file."""
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        sys.stderr.write(f"\r{what}: {done}/{total}{end}")
        sys.stderr.flush()
