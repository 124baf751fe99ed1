"""A run for a stage: begun, or opened again where an earlier one was cut off, and closed with how the stage ended."""

import logging
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from pipeline.errors import PipelineError, StoppedError
from pipeline.tracking.address import OFFLINE, one_line, redact, sqlite_file
from pipeline.tracking.beginning import PARENT_RUN_TAG, PARENT_TAG, Beginning, create, in_store
from pipeline.tracking.delivery import Delivery
from pipeline.tracking.entries import tags_of
from pipeline.tracking.notes import Note
from pipeline.tracking.origin import origin_tags
from pipeline.tracking.sender import Sender, within
from pipeline.tracking.store import LOCK_SECONDS, load_library, open_store
from pipeline.tracking.sync import send
from pipeline.tracking.tracker import NullTracker, RunTracker, Tracker
from pipeline.tracking.unsent import Keeper, Unsent

logger = logging.getLogger(__name__)

__all__ = ["PARENT_RUN_TAG", "check_store", "find_run", "start_run"]

RUN_ID = re.compile(r"[0-9a-f]{8,64}")
OPEN_SECONDS = 30.0
"""How long a stage waits for a server to open its run; a SQLite file may have to wait for other commands besides."""

_NONE: Mapping[str, str] = {}


@contextmanager
def start_run(
    *,
    uri: str,
    stage: str,
    parents: Mapping[str, str] = _NONE,
    tags: Mapping[str, str] = _NONE,
    reopen: str = "",
    keep: Path | None = None,
) -> Iterator[Tracker]:
    """A run for one stage. `parents` maps a stage's name to the run id whose outputs are read (tags `crem.parent.<stage>`).

    `reopen` is the id of a run that was cut off: it is gone on with, or said to be gone and a new one begun. What the store does
    not take, or cannot be asked to, lies in the folder `keep` for `crem sync`; without one a store that cannot be reached yields
    a NullTracker, after one warning. The run ends FINISHED, FAILED on an error, or KILLED on Ctrl-C and termination.
    """
    told = {"crem.stage": stage, **origin_tags(stage), **tags, **{PARENT_TAG + name: run for name, run in parents.items()}}
    tracker = _open_run(uri, Beginning.now(stage, tags_of(told)), reopen, keep)
    status = "FAILED"
    try:
        yield tracker
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit, GeneratorExit, StoppedError):
        status = "KILLED"
        raise
    finally:
        if isinstance(tracker, RunTracker):
            tracker.finish(status)


def find_run(uri: str, run_id: str, keep: Path | None = None) -> dict[str, str]:
    """The tags of a run: one that waits in the folder `keep` to be sent, or one of the store, by either id that it had.

    Raises:
        PipelineError: no such run, or a store that does not answer.
    """
    waiting = Unsent(keep / run_id).head() if keep is not None and RUN_ID.fullmatch(run_id) else {}
    if waiting:
        return dict(waiting["tags"])
    file = sqlite_file(uri)
    if uri == OFFLINE or (file is not None and not file.exists()):
        raise PipelineError(f"--run-id {run_id}: there is no run store at {file or uri}; give --work or MLFLOW_TRACKING_URI")
    try:
        found = in_store(open_store(uri), run_id)
    except Exception as error:
        raise PipelineError(f"--run-id {run_id}: {redact(uri)} does not answer ({one_line(error)})") from error
    if found is None:
        raise PipelineError(f"--run-id {run_id}: not found in {redact(uri)}; list the runs with mlflow ui")
    return dict(found.data.tags)


def check_store(uri: str) -> None:
    """Ask a store anything at all. A SQLite file that is not there yet is none to ask. Raises PipelineError when it fails."""
    file = sqlite_file(uri)
    if file is not None and not file.exists():
        return
    load_library()
    try:
        within(OPEN_SECONDS, partial(open_store, uri))
    except Exception as error:
        raise PipelineError(f"{redact(uri)}: {one_line(error)}") from error


def _open_run(uri: str, beginning: Beginning, reopen: str, keep: Path | None) -> Tracker:
    """The run to note into; one that is kept where the store is not to be had, or a NullTracker, with one warning."""
    if uri == OFFLINE and keep is not None:
        return _kept(beginning, reopen, keep)
    try:
        load_library()
        seconds = OPEN_SECONDS + (LOCK_SECONDS if sqlite_file(uri) else 0)
        return within(seconds, partial(_begin, uri, beginning, reopen, keep))
    except Exception as error:  # noqa: BLE001 (whatever the store raises, the work goes on)
        lost = "off for crem {}, whose work no --run-id will name" if keep is None else "crem {} is kept, to be sent by crem sync"
        logger.warning("tracking: %s; %s cannot be opened (%s)", lost.format(beginning.stage), redact(uri), one_line(error))
    return NullTracker() if keep is None else _kept(beginning, reopen, keep)


def _kept(beginning: Beginning, reopen: str, keep: Path) -> Tracker:
    """A run that waits for `crem sync`, under an id of ours, or the one to go on with."""
    unsent = Unsent(keep / (reopen or uuid.uuid4().hex))
    keeper = Keeper(unsent)
    try:
        if reopen:
            keeper.put(Note(tags=beginning.tags))
        else:
            unsent.begin(beginning.as_json())
    except OSError as error:
        logger.warning("tracking: off for crem %s; %s cannot be written (%s)", beginning.stage, unsent.folder, one_line(error))
        return NullTracker()
    return RunTracker(unsent.run_id, keeper, began=beginning.began / 1000)


def _begin(uri: str, beginning: Beginning, reopen: str, keep: Path | None) -> RunTracker:
    """A new run, or the one to open again, told first what is kept of it. Raises what MLflow raises."""
    client = open_store(uri)
    before = None
    if reopen:
        if keep is not None and (waiting := Unsent(keep / reopen)).is_kept:
            send(client, uri, waiting)
        before = in_store(client, reopen)
        if before is None:
            stage = beginning.stage
            logger.warning("tracking: run %s is no longer in %s; crem %s goes on as a new run", reopen, redact(uri), stage)
    run = before or create(client, uri, beginning)
    run_id = str(run.info.run_id)
    if before is not None:
        client.update_run(run_id, status="RUNNING")
    deliver = Delivery(client, run, is_reopened=before is not None)
    unsent = None if keep is None else Unsent(keep / run_id)
    sender = Sender(deliver, unsent, partial(client.search_experiments, max_results=1))
    tracker = RunTracker(run_id, sender, began=run.info.start_time / 1000)
    if before is not None:
        tracker.set_tags(beginning.tags)
    return tracker
