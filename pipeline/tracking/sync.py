"""What stores did not take, sent later. Sent twice it is there once: a sync may be stopped, and run beside a training."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import PipelineError
from pipeline.lock import hold
from pipeline.tracking.address import OFFLINE, one_line, redact
from pipeline.tracking.beginning import KEPT_TAG, PARENT_RUN_TAG, PARENT_TAG, Beginning, create, in_store
from pipeline.tracking.delivery import Delivery
from pipeline.tracking.sender import may_pass
from pipeline.tracking.store import open_store
from pipeline.tracking.unsent import FOLDER, Unsent, unsent_runs

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What became of a run: its id in the store, how many notes went there, how many the store refused, and whether more come."""

    run_id: str
    notes: int
    refused: int
    is_written: bool


def sync(work: Path, uri: str) -> Iterator[Sent]:
    """Send what is kept in a work folder, run by run, those that began first in front.

    Raises PipelineError where the store does not answer: what was sent by then stays sent, and the rest stays kept.
    """
    if uri == OFFLINE:
        raise PipelineError("crem sync: MLFLOW_TRACKING_URI is offline; name the store: --to http://host:5000")
    waiting = unsent_runs(work)
    if not waiting:
        return
    with (work / FOLDER / ".lock").open("w") as lock:
        hold(lock, busy=f"{work / FOLDER}: another crem sync runs there; wait for it")
        try:
            client = open_store(uri)
            for unsent in waiting:
                yield send(client, uri, unsent)
        except Exception as error:
            reason, left = one_line(error), len(unsent_runs(work))
            raise PipelineError(
                f"{redact(uri)}: {reason}; runs that still wait in {work / FOLDER}: {left}; sync again"
            ) from error
    if not unsent_runs(work):
        (work / FOLDER / ".lock").unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # a command may have begun to keep something
            (work / FOLDER).rmdir()


def send(client: "MlflowClient", uri: str, unsent: Unsent) -> Sent:
    """Send what is kept of a run, and remove it unless a process still writes there. Raises where the store does not answer."""
    run = _run_of(client, uri, unsent)
    deliver, told, refused = Delivery(client, run, is_reopened=True), 0, 0
    for note in unsent.notes():
        try:
            deliver(note)
        except Exception as error:
            if may_pass(error):
                raise
            logger.warning("tracking: %s does not take a note of run %s (%s)", redact(uri), deliver.run_id, one_line(error))
            refused += 1
        told += 1
    is_written = unsent.is_written()
    if not is_written:
        unsent.remove()
    return Sent(run_id=deliver.run_id, notes=told - refused, refused=refused, is_written=is_written)


def _run_of(client: "MlflowClient", uri: str, unsent: Unsent) -> "Run":
    """The run in the store, made now if it was never there, below the runs that were sent before it."""
    found = in_store(client, unsent.run_id)
    if found is not None:
        return found
    head = unsent.head()
    if not head:
        raise PipelineError(f"run {unsent.run_id} is not in this store; send {unsent.folder} to the one that it began in (--to)")
    beginning = Beginning(**head)
    tags = {name: _renamed(client, name, value) for name, value in beginning.tags.items()}
    return create(client, uri, replace(beginning, tags={**tags, KEPT_TAG: unsent.run_id}))


def _renamed(client: "MlflowClient", name: str, value: str) -> str:
    """A tag that names another run, by the id that the store knows it by."""
    if name != PARENT_RUN_TAG and not name.startswith(PARENT_TAG):
        return value
    found = in_store(client, value)
    return value if found is None else str(found.info.run_id)
