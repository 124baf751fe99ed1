"""From the id of a tracked run to the model that it trained or measured, and all that is known of it."""

from dataclasses import fields
from pathlib import Path

from eval.run_report.measured import Lineage, Measured, Results, is_empty, read_results
from jobs.defaults import FOLDERS
from jobs.evaluate import FEWER, TRAINED, UNTRAINED
from pipeline.errors import ConfigError, DataError, PipelineError
from pipeline.manifest import Manifest
from pipeline.recipe_json import course_values, recipe_fingerprint
from pipeline.recipes import RECIPES, load
from pipeline.stage_folder import find_made_by
from pipeline.tracking import PARENT_RUN_TAG, TrackedRun, finished_runs, flatten, is_on_toy_world, tracked_run

_TRAIN_TAG, _RECIPE = "crem.parent.train", "recipe."
_MOST_SHOWN = 3


def measured_by(uri: str, run_id: str) -> Measured:
    """The model of a run of `crem run`, of the train stage or of the evaluate stage, with its results.

    Raises PipelineError for a run that is not there, that measured and trained nothing, or whose results are gone.
    """
    run = _of_chain(uri, tracked_run(uri, run_id))
    stage = run.tags.get("crem.stage", "")
    if stage not in ("train", "evaluate"):
        raise ConfigError(f"--run-id {run_id}: a run of {stage or 'another program'}; name one of crem run, train or evaluate")
    trained_by = run.run_id if stage == "train" else run.tags.get(_TRAIN_TAG, "")
    place = _measured_in(uri, run, trained_by)
    results = _with_others(read_results(place / TRAINED) if place else None, _by_hand(run, trained_by))
    if results is None:
        raise DataError(f"--run-id {run_id}: nothing that was measured of it is there; crem evaluate measures it")
    tokens = int(run.params.get(f"{_RECIPE}tokens.count", 0))
    return Measured(
        label=f"{run.tags.get('crem.recipe', 'model')} ({run_id[:8]})",
        lineage=_lineage(uri, run, trained_by),
        results=results,
        untrained=read_results(place / UNTRAINED) if place else None,
        fewer=_fewer(place, tokens) if place else {},
        tokens=tokens,
        speed=tracked_run(uri, trained_by).metrics if trained_by else {},
    )


def _of_chain(uri: str, run: TrackedRun) -> TrackedRun:
    """The evaluation of a run of `crem run`; another run as it is."""
    if run.tags.get("crem.stage") != "run":
        return run
    found = finished_runs(uri, {PARENT_RUN_TAG: run.run_id, "crem.stage": "evaluate"})
    if not found:
        raise DataError(f"--run-id {run.run_id}: this crem run measured nothing itself; name that of its evaluation or training")
    return found[0]


def _measured_in(uri: str, run: TrackedRun, trained_by: str) -> Path | None:
    """The folder of stage `evaluate` with the results of the model; None where they are gone."""
    folder = Path(run.tags.get("crem.work", "")) / FOLDERS["evaluate"]
    if found := find_made_by(folder, run.run_id):
        return found
    # Measured again by another choice, or the run is the training's: the folder's own run tells whose results lie there.
    manifest = Manifest.read(folder) if folder.is_dir() else None
    if manifest is None or not manifest.run_id or not trained_by:
        return None
    try:
        other = tracked_run(uri, manifest.run_id)
    except PipelineError:
        return None
    return folder if other.tags.get(_TRAIN_TAG) == trained_by else None


def _by_hand(run: TrackedRun, trained_by: str) -> Results | None:
    """What `python -m eval...` measured of a training, in the folder that it takes for a run."""
    folder = Path(run.tags.get("crem.work", "")) / "eval" / trained_by
    return read_results(folder) if trained_by and folder.is_dir() else None


def _with_others(first: Results | None, second: Results | None) -> Results | None:
    """Results of one model from two folders, those of the first where both have one; None where neither has any."""
    known = [each for each in (first, second) if each is not None and not is_empty(each)]
    if len(known) < 2:
        return known[0] if known else None
    one, other = known
    if {made.model for _, made in one.sources()} != {made.model for _, made in other.sources()}:
        return one  # an earlier or later checkpoint of the training
    merged = {each.name: getattr(one, each.name) or getattr(other, each.name) for each in fields(Results)}
    questions = {mode: {**other.questions.get(mode, {}), **files} for mode, files in one.questions.items()}
    return Results(**{**merged, "questions": questions})


def _fewer(place: Path, tokens: int) -> dict[int, Results]:
    """The results with fewer compression tokens, by their number."""
    found = {count: read_results(place / FEWER.format(count)) for count in range(1, tokens)}
    return {count: results for count, results in found.items() if not is_empty(results)}


def _lineage(uri: str, run: TrackedRun, trained_by: str) -> Lineage:
    tags = run.tags
    data = tags.get("crem.data", "")
    step = int(run.metrics.get("step", run.metrics.get("steps", 0)))
    return Lineage(
        run_id=run.run_id,
        recipe=tags.get("crem.recipe", ""),
        other=_other_values(run),
        trained_by=trained_by,
        checkpoint=_checkpoint(uri, trained_by, step),
        data=data,
        commit=tags.get("mlflow.source.git.commit", ""),
        output=tags.get("crem.output", ""),
        is_toy=is_on_toy_world(tags),
    )


def _checkpoint(uri: str, trained_by: str, step: int) -> str:
    if not step:
        return ""
    folder = tracked_run(uri, trained_by).tags.get("crem.output", "") if trained_by else ""
    return f"{folder}/checkpoints/step-{step:08d}" if folder else f"step {step}, of a folder that --checkpoint named"


def _other_values(run: TrackedRun) -> str:
    """In which values the recipe of a run is not the one of its name: "seed, phases.0.steps"; empty where it is."""
    name = run.tags.get("crem.recipe", "")
    if name not in RECIPES:
        return "all, for no recipe has this name"
    recipe = load(name)
    if run.tags.get("crem.recipe_fingerprint") == recipe_fingerprint(recipe):
        return ""
    own = {key: str(value) for key, value in flatten({"recipe": course_values(recipe)}).items()}
    differing = sorted(key.removeprefix(_RECIPE) for key, value in own.items() if run.params.get(key, value) != value)
    return _listed(differing) or "values that its run does not tell"


def _listed(names: list[str]) -> str:
    more = [f"{len(names) - _MOST_SHOWN} more"] if len(names) > _MOST_SHOWN else []
    return ", ".join([*names[:_MOST_SHOWN], *more])
