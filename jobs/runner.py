"""Runs a stage when its inputs or settings have changed, and says so when they have not.

A stage is done when its manifest bears the fingerprint of what it would be made from now and its files are still there.
"""

import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jobs import ranks
from jobs.stage import Context, Input, Result, Stage, Writing
from pipeline.errors import DataError, PipelineError
from pipeline.folder_state import corpus_state, every_file_state
from pipeline.lock import hold
from pipeline.manifest import MANIFEST_NAME, Manifest, atomic_folder, canonical_json, fingerprint, tree_digest, write_atomic
from pipeline.recipe_json import recipe_fingerprint
from pipeline.stage_folder import STARTED_NAME, find_begun, give_place, is_mere_beginning, mark_begun, retire, unfinished_run
from pipeline.tracking import PARENT_RUN_TAG, NullTracker, Tracker, start_run

logger = logging.getLogger(__name__)

_DONE, _RUN, _FAILED = 0, 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a stage: its manifest, and whether it was found done."""

    stage: str
    folder: Path
    manifest: Manifest
    was_done: bool
    seconds: float


def run_stage(stage: Stage, context: Context) -> Outcome:
    """Bring a stage's folder up to date.

    Raises PipelineError: an input is missing, another process works on the folder, or the stage itself refuses. Nothing that
    looks finished is left behind then.
    """
    if ranks.rank():
        return _follow(stage)
    begun = time.monotonic()
    with _only_one(stage, context):
        try:
            plan = _Plan.of(stage)
            if stage.writing is Writing.RESUME:
                give_place(stage.folder, plan.fingerprint)
            found = None if context.force else plan.finished(stage.folder)
            reopen = _prepare(plan, context, is_done=found is not None)
        except BaseException:
            ranks.agree(_FAILED)
            raise
        ranks.agree(_RUN if found is None else _DONE)
        manifest = found or _run(plan, context, reopen)
    return Outcome(
        stage=stage.name, folder=stage.folder, manifest=manifest, was_done=found is not None, seconds=time.monotonic() - begun
    )


def is_done(stage: Stage) -> bool:
    """Whether the stage would find its work done, in place or aside. Raises DataError, as `run_stage`, for a missing input."""
    plan = _Plan.of(stage)
    place = find_begun(stage.folder, plan.fingerprint)
    return place is not None and plan.finished(place) is not None


@dataclass(frozen=True, slots=True)
class _Plan:
    """A stage with the fingerprint of what it would be made from now. `parents` are the runs that made its inputs."""

    stage: Stage
    fingerprint: str
    inputs: Mapping[str, str]
    parents: Mapping[str, str]

    @classmethod
    def of(cls, stage: Stage) -> "_Plan":
        """Look at the inputs; raises DataError, naming the command to run first, when one is missing."""
        given = stage.inputs()
        states = {name: _input_state(item) for name, item in given.items()}
        inputs = {name: state for name, (state, _) in states.items()}
        made = [manifest for _, manifest in states.values() if manifest is not None]
        for own, (_, manifest) in states.items():
            if manifest is not None:
                _refuse_stale(
                    manifest,
                    inputs,
                    {name: item for name, item in given.items() if item.made_by and name not in given[own].apart},
                )
        parents = {manifest.stage: manifest.run_id for manifest in made if manifest.run_id}
        return cls(stage, fingerprint([stage.name, stage.settings(), inputs]), inputs, parents)

    def finished(self, folder: Path) -> Manifest | None:
        """A folder's manifest, if it answers for these inputs and settings and no file has gone or changed its size since."""
        manifest = Manifest.read(folder)
        if manifest is None:
            return None
        if manifest.fingerprint != self.fingerprint:
            logger.info("%s: inputs or settings have changed, so it runs anew", self.stage.name)
            return None
        if manifest.outputs["files"] != inventory(folder):
            logger.info("%s: files in %s were changed or removed, so it runs again", self.stage.name, folder)
            return None
        return manifest


def _input_state(given: Input) -> tuple[str, Manifest | None]:
    """A fingerprint of an input: of its content where a stage made it, of what lies there where it is the user's own."""
    if given.made_by:
        manifest = Manifest.read(given.path) if given.path.is_dir() else None
        if manifest is None:
            raise DataError(f"{given.path}: not there or not finished; run crem {given.made_by} first")
        return manifest.outputs["content"], manifest
    if not given.path.is_dir():
        raise DataError(f"{given.path}: no such folder; check the path")
    parts = [given.path / part for part in given.parts]
    return corpus_state(*parts) if parts else every_file_state(given.path), None


def _refuse_stale(made: Manifest, inputs: Mapping[str, str], given: Mapping[str, Input]) -> None:
    """Raise DataError where an input was made from another state of one that this stage reads too: keys would still match."""
    for name, item in given.items():
        if made.inputs.get(name, inputs[name]) != inputs[name]:
            raise DataError(
                f"{item.path}: not what crem {made.stage} read; give all stages the same --data and settings, "
                f"or run crem {made.stage} again first"
            )


def inventory(folder: Path) -> str:
    """A fingerprint of the names and sizes below a folder: cheap enough to check every time, whatever the size."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in (MANIFEST_NAME, STARTED_NAME))
    return fingerprint([(path.relative_to(folder).as_posix(), path.stat().st_size) for path in files])


def _prepare(plan: _Plan, context: Context, *, is_done: bool) -> str:
    """Make the folder of a stage that is written in place ready to be gone on with. Returns the run that goes on, if any."""
    stage = plan.stage
    if is_done or stage.writing is Writing.ASIDE:
        return ""
    if context.force and stage.writing is not Writing.PIECES:
        retire(stage.folder)
    reopen = unfinished_run(stage.folder, plan.fingerprint)
    (stage.folder / MANIFEST_NAME).unlink(missing_ok=True)
    mark_begun(stage.folder, plan.fingerprint)
    return reopen


def run_tags(context: Context) -> dict[str, str]:
    """What every run of the tracker says of the command that it is of."""
    return {
        "crem.work": str(context.work.resolve()),
        "crem.data": str(context.data.resolve()),
        "crem.recipe": context.recipe.name,
        "crem.recipe_fingerprint": recipe_fingerprint(context.recipe),
    }


def _run(plan: _Plan, context: Context, reopen: str) -> Manifest:
    """Run the stage as a run of the tracker, the one cut off where there is one, and write its manifest last."""
    stage = plan.stage
    parent = context.parent_run()
    below = {PARENT_RUN_TAG: parent} if parent else {}
    tags = {**run_tags(context), "crem.output": str(stage.folder.resolve()), **below}
    begun = time.monotonic()
    tracked = start_run(
        uri=context.tracking, stage=stage.name, parents=plan.parents, tags=tags, reopen=reopen, keep=context.unsent
    )
    with tracked as tracker:
        _log_settings(stage, context, tracker)
        if stage.writing is not Writing.ASIDE:
            mark_begun(stage.folder, plan.fingerprint, tracker.run_id)
        if stage.writing is Writing.ASIDE:
            with atomic_folder(stage.folder) as aside:
                manifest = _fill(plan, aside, tracker)
        else:
            with _leaves_no_mere_beginning(stage.folder):
                manifest = _fill(plan, stage.folder, tracker)
        tracker.log_metrics({**manifest.counts, "seconds": time.monotonic() - begun})
        tracker.log_artifact(stage.folder / MANIFEST_NAME)
    return manifest


@contextmanager
def _leaves_no_mere_beginning(folder: Path) -> Iterator[None]:
    """Remove a folder that holds only the note of its beginning when the stage fails before it made anything."""
    try:
        yield
    except PipelineError:
        if is_mere_beginning(folder):
            shutil.rmtree(folder)
        raise


def _fill(plan: _Plan, out: Path, tracker: Tracker) -> Manifest:
    result: Result = plan.stage.run(out, tracker)
    manifest = Manifest(
        stage=plan.stage.name,
        fingerprint=plan.fingerprint,
        inputs=dict(plan.inputs),
        outputs={"files": inventory(out), "content": result.content or tree_digest(out)},
        counts=dict(result.counts),
        run_id=tracker.run_id,
    )
    manifest.write(out)
    return manifest


def _log_settings(stage: Stage, context: Context, tracker: Tracker) -> None:
    """Note the settings as parameters and the resolved recipe as a file."""
    tracker.log_params(json.loads(canonical_json(dict(stage.settings()))))
    tracker.log_artifact(write_recipe(context))


def write_recipe(context: Context) -> Path:
    """Write the resolved recipe to `<work>/recipe.json`, which `--recipe` accepts. Returns that path."""
    path = context.work / "recipe.json"
    write_atomic(path, json.dumps(json.loads(canonical_json(context.recipe)), indent=1) + "\n")
    return path


def _follow(stage: Stage) -> Outcome:
    """A rank other than 0: wait for rank 0 to decide, then work along and write nothing."""
    begun = time.monotonic()
    choice = ranks.agree(_RUN)
    if choice == _FAILED:
        raise PipelineError(f"{stage.name}: rank 0 gave up; its message says why")
    if choice == _RUN:
        stage.run(stage.folder, NullTracker())
    manifest = Manifest(stage=stage.name, fingerprint="")
    return Outcome(
        stage=stage.name, folder=stage.folder, manifest=manifest, was_done=choice == _DONE, seconds=time.monotonic() - begun
    )


@contextmanager
def _only_one(stage: Stage, context: Context) -> Iterator[None]:
    """Keep a second process out of the stage's folder; the lock goes with the process, however it ends."""
    context.work.mkdir(parents=True, exist_ok=True)
    with (context.work / f".{stage.name}.lock").open("w") as lock:
        hold(lock, busy=f"{stage.folder}: another process runs crem {stage.name} there; wait for it, or give another --work")
        yield
