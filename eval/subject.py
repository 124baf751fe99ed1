"""Which model an evaluation command is about: a run of the tracker, a checkpoint folder or a model folder."""

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from eval.model_protocol import Model
from pipeline.errors import CheckpointError, ConfigError, PipelineError
from pipeline.manifest import fingerprint
from pipeline.presets import Preset, preset_of
from pipeline.stage_folder import find_made_by
from pipeline.tracking import KEPT_TAG, UNSENT, default_uri, find_run

if TYPE_CHECKING:
    from pipeline.model.device import Dtype
    from pipeline.outlined import Outlined
    from pipeline.recipe import Recipe

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model that was found but not loaded, the data folder its run read (None where unknown), and where its results go.

    `run_id` is the run that made it, in the store `tracking` ("" where a folder was named); what that store does not take is kept
    in `unsent`. `recipe` is needed for a bare model folder; checkpoints and exports bring their own. `preset` reads a folder that
    others published, `base` is the model that an adapter belongs to. `device` and `dtype` are the user's, None where the machine
    decides.
    """

    folder: Path
    recipe: "Recipe | None"
    data: Path | None
    out: Path
    device: str | None = None
    dtype: "Dtype | None" = None
    preset: Preset | None = None
    base: Path | None = None
    run_id: str = ""
    tracking: str = ""
    unsent: Path | None = None

    def load(self) -> Model:
        """Load the model. Raises CheckpointError, naming the folder and what it lacks."""
        # Pulls in torch, which --help and a wrong path must not wait for.
        from pipeline.foreign import load_foreign
        from pipeline.merged import load_merged
        from pipeline.model.device import usual_place

        device, dtype = usual_place(self.device, self.dtype)
        if self.preset is not None:
            return load_foreign(self.folder, self.preset, base=self.base, device=device, dtype=dtype)
        return load_merged(self.folder, recipe=self.recipe, device=device, dtype=dtype)

    def outline(self) -> "Outlined":
        """The model without its weights, for an estimate. Raises CheckpointError, naming the folder and what it lacks."""
        from pipeline.foreign import outline_foreign
        from pipeline.outlined import outline_merged

        if self.preset is not None:
            return outline_foreign(self.folder, self.preset, base=self.base)
        return outline_merged(self.folder, recipe=self.recipe)

    def data_folder(self, given: Path | None) -> Path:
        """The data folder to evaluate on. Raises ConfigError when neither the user nor the run names one."""
        folder = given or self.data
        if folder is None:
            raise ConfigError("--data: this model does not say which data it was trained beside; name the data folder")
        if given is None and not folder.is_dir():
            raise ConfigError(f"--data: the data that its run read, {folder}, is not on this machine; name the data folder here")
        return folder


def find_subject(
    *,
    run_id: str | None,
    model: Path | None,
    recipe: str | None = None,
    settings: tuple[str, ...] = (),
    work: Path,
    device: str | None = None,
    dtype: "Dtype | None" = None,
    preset: str | None = None,
    base: Path | None = None,
) -> Subject:
    """The model that `--run-id` or `--model` names.

    A run is looked up in the store of the work folder (or MLFLOW_TRACKING_URI); its newest whole checkpoint is taken. A bare
    model folder needs a recipe. Raises ConfigError unless exactly one of the two is given, CheckpointError for a bad folder.
    """
    if preset is not None:
        found = _published(model, run_id, preset, recipe, work)
        return replace(found, device=device, dtype=dtype, base=base)
    if base is not None:
        raise ConfigError("--base: belongs to an adapter that others published; name its --preset too")
    given = _given_recipe(recipe, settings)
    if model is not None and run_id is None:
        found = _subject_of_folder(model, given, work)
    elif run_id is not None and model is None:
        found = _subject_of_run(run_id, given, work)
    else:
        raise ConfigError("give either --run-id or --model")
    return replace(found, device=device, dtype=dtype)


def _published(model: Path | None, run_id: str | None, preset: str, recipe: str | None, work: Path) -> Subject:
    """A folder that others published; its results go to a folder of the preset's."""
    if model is None or run_id is not None or recipe is not None:
        raise ConfigError("--preset: reads a folder that others published; name it with --model, and no --run-id and no --recipe")
    if not model.is_dir():
        raise CheckpointError(f"{model}: no such folder; name the folder of a published model")
    found = _subject_of_place(model, None, work)
    return replace(found, preset=preset_of(preset), out=found.out.with_name(f"{found.out.name}-{preset}"))


def _subject_of_folder(model: Path, recipe: "Recipe | None", work: Path) -> Subject:
    return replace(_subject_of_place(model, recipe, work), folder=newest_checkpoint(model))


def _subject_of_place(model: Path, recipe: "Recipe | None", work: Path) -> Subject:
    place = model.resolve()
    # Every run has a step-00001000: which one it is stands in the rest of the path.
    name = f"{place.name}-{fingerprint(place)[:8]}"
    return Subject(folder=model, recipe=recipe, data=None, out=work / "eval" / name)


def _subject_of_run(run_id: str, recipe: "Recipe | None", work: Path) -> Subject:
    tags = find_run(default_uri(work), run_id, work / UNSENT)
    if "crem.output" not in tags:
        raise ConfigError(f"--run-id {run_id}: this run wrote no model; take a run of the train stage")
    folder = newest_checkpoint(_output_of_run(run_id, tags, work))
    return Subject(
        folder=folder,
        recipe=recipe or _recipe_of_run(folder, tags),
        data=_here(tags["crem.data"], tags, work) if tags.get("crem.data") else None,
        out=work / "eval" / run_id,
        run_id=run_id,
        tracking=default_uri(work),
        unsent=work / UNSENT,
    )


def _output_of_run(run_id: str, tags: Mapping[str, str], work: Path) -> Path:
    """What a run wrote, as far as this machine has it. Raises CheckpointError, saying on which machine it was written."""
    place = _here(tags["crem.output"], tags, work)
    for known in (run_id, tags.get(KEPT_TAG, run_id)):  # what it wrote knows the run by the id that it had then
        if found := find_made_by(place, known):
            return found
    host = tags.get("crem.host", "an unknown machine")
    raise CheckpointError(
        f"--run-id {run_id}: what it wrote on {host} is no longer in {tags['crem.output']}, and not below --work {work}; mount "
        "or copy that work folder here and name it with --work, or name a folder with --model"
    )


def _here(path: str, tags: Mapping[str, str], work: Path) -> Path:
    """A path that a run noted; below `--work` where the run's work folder lies there on this machine."""
    noted, before = Path(path), tags.get("crem.work", "")
    if noted.exists() or not before or not noted.is_relative_to(before):
        return noted
    moved = work / noted.relative_to(before)
    return moved if moved.exists() else noted


def _given_recipe(recipe: str | None, settings: tuple[str, ...]) -> "Recipe | None":
    """What `--recipe` and `--set` name; None where they name nothing."""
    if recipe is None and settings:
        raise ConfigError("--set: changes the recipe that --recipe names, and a checkpoint keeps its own; name a recipe too")
    if recipe is None:
        return None
    from pipeline.recipes.source import resolve

    return resolve(recipe, settings)


def _recipe_of_run(folder: Path, tags: Mapping[str, str]) -> "Recipe | None":
    """The recipe of a run that made a bare model folder: the named one, if it still has the values that the run had."""
    from pipeline.recipe_json import recipe_fingerprint
    from pipeline.recipes import RECIPES, load
    from pipeline.train.checkpoint import STATE

    if (folder / STATE).is_file():
        return None
    name = tags.get("crem.recipe", "")
    found = load(name) if name in RECIPES else None
    if found is None or recipe_fingerprint(found) != tags.get("crem.recipe_fingerprint"):
        raise ConfigError(f"--recipe: {folder} has no checkpoint, and its run had a recipe of its own; name its recipe.json")
    return found


def newest_checkpoint(folder: Path) -> Path:
    """The folder itself when it is a checkpoint, an export or a model folder, else the newest whole checkpoint below it."""
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder; train first, or name a checkpoint or model folder")
    from pipeline.embedding_json import SETTINGS
    from pipeline.train.checkpoint import STATE, read_state, steps

    if any((folder / name).is_file() for name in (STATE, SETTINGS, "config.json")):
        return folder
    for candidate in steps(folder) or steps(folder / "checkpoints"):
        try:
            read_state(candidate)
        except CheckpointError as error:
            logger.warning("%s", error)
            continue
        return candidate
    raise CheckpointError(f"{folder}: no checkpoint, no export and no model folder, and none below it; train first")


def show_messages() -> None:
    """What readers count and leave out goes to stderr as it stands; of several ranks the first says it, and all warn."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    if os.environ.get("RANK", "0") == "0":
        for name in ("eval", "pipeline"):
            logging.getLogger(name).setLevel(logging.INFO)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the command with one line on stderr and exit code 1 where the user, or whoever keeps the disks, can mend it."""
    try:
        yield
    except PipelineError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename or 'the file system'}: {error.strerror or error}")


def show_progress(what: str, done: int, total: int) -> None:
    """Progress on one line of a terminal; nothing where stderr is a file."""
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        sys.stderr.write(f"\r{what}: {done}/{total}{end}")
        sys.stderr.flush()
