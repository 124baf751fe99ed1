"""A run for a stage: begun, or opened again where an earlier one was cut off, and closed with how the stage ended."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from pipeline.errors import PipelineError, StoppedError
from pipeline.tracking.address import one_line, redact, sqlite_file
from pipeline.tracking.entries import tags_of
from pipeline.tracking.origin import origin_tags
from pipeline.tracking.sender import within
from pipeline.tracking.store import LOCK_SECONDS, experiment_of, load_library, open_store
from pipeline.tracking.tracker import MlflowTracker, NullTracker, Tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

logger = logging.getLogger(__name__)

PARENT_TAG = "crem.parent."
PARENT_RUN_TAG = "mlflow.parentRunId"
"""By this the MLflow UI shows a run below another."""

OPEN_SECONDS = 30.0
"""How long a stage waits for a server to open its run; a SQLite file may have to wait for other commands besides."""

_NONE: Mapping[str, str] = {}
_ABSENT = "RESOURCE_DOES_NOT_EXIST"


@contextmanager
def start_run(
    *, uri: str, stage: str, parents: Mapping[str, str] = _NONE, tags: Mapping[str, str] = _NONE, reopen: str = ""
) -> Iterator[Tracker]:
    """A run for one stage. `parents` maps a stage's name to the run id whose outputs are read (tags `crem.parent.<stage>`).

    `reopen` is the id of a run that was cut off: it is gone on with, or said to be gone and a new one begun. Yields a
    NullTracker, after one warning, where the store cannot be reached. The run ends FINISHED, FAILED on an error, or KILLED on
    Ctrl-C and termination.
    """
    tracker = _open_run(uri, stage, {**tags, **{PARENT_TAG + name: run for name, run in parents.items()}}, reopen)
    status = "FAILED"
    try:
        yield tracker
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit, GeneratorExit, StoppedError):
        status = "KILLED"
        raise
    finally:
        if isinstance(tracker, MlflowTracker):
            tracker.finish(status)


def find_run(uri: str, run_id: str) -> dict[str, str]:
    """The tags of a run.

    Raises:
        PipelineError: no such run, or a store that does not answer.
    """
    file = sqlite_file(uri)
    if file is not None and not file.exists():
        raise PipelineError(f"--run-id {run_id}: there is no run store at {file}; give --work or MLFLOW_TRACKING_URI")
    try:
        return dict(open_store(uri).get_run(run_id).data.tags)
    except Exception as error:
        raise PipelineError(
            f"--run-id {run_id}: not found in {redact(uri)} ({one_line(error)}); list the runs with mlflow ui"
        ) from error


def _open_run(uri: str, stage: str, tags: Mapping[str, str], reopen: str) -> Tracker:
    """The run to note into, or a NullTracker with one warning."""
    try:
        load_library()
        seconds = OPEN_SECONDS + (LOCK_SECONDS if sqlite_file(uri) else 0)
        return within(seconds, partial(_begin, uri, stage, tags, reopen))
    except Exception as error:  # noqa: BLE001 (whatever the store raises, the work goes on)
        logger.warning(
            "tracking: off for crem %s, whose work no --run-id will name; %s cannot be opened (%s)",
            stage,
            redact(uri),
            one_line(error),
        )
        return NullTracker()


def _begin(uri: str, stage: str, tags: Mapping[str, str], reopen: str) -> MlflowTracker:
    """A new run, or the one to open again. Raises what MLflow raises."""
    client = open_store(uri)
    tags = {"crem.stage": stage, **origin_tags(stage), **tags}
    before = _still_there(client, reopen) if reopen else None
    if before is None:
        if reopen:
            logger.warning("tracking: run %s is no longer in %s; crem %s goes on as a new run", reopen, redact(uri), stage)
        name = f"{stage} {time.strftime('%Y-%m-%d %H:%M:%S')}"
        given = {tag.key: tag.value for tag in tags_of(tags)}
        return MlflowTracker(client, client.create_run(experiment_of(client, uri), tags=given, run_name=name))
    client.update_run(reopen, status="RUNNING")
    tracker = MlflowTracker(client, before, is_reopened=True)
    tracker.set_tags(tags)
    return tracker


def _still_there(client: "MlflowClient", run_id: str) -> "Run | None":
    """The run, unless the store has it no more or only in its bin."""
    try:
        found = client.get_run(run_id)
    except Exception as error:
        if getattr(error, "error_code", "") == _ABSENT:
            return None
        raise
    return found if found.info.lifecycle_stage == "active" else None
