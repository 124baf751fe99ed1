"""The door to MLflow: a client of a store, with SQLite files made whole and opened by one command at a time.

MLflow makes and upgrades its tables in place, without a lock that holds between machines: two commands that start together, or
a kill, leave a file that nobody can open again. So a new file is made aside and takes its place whole, and every opening waits
for its turn at a lock beside the file.
"""

import contextlib
import fcntl
import logging
import os
import re
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from pipeline.errors import PipelineError
from pipeline.tracking.address import redact, sqlite_file

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

DEFAULT_EXPERIMENT = "crem"
LOCK_SECONDS = 90.0
"""How long an opening waits for others: to make the tables takes two seconds, and many times that on a crowded machine."""

_POLL_SECONDS = 0.05
_BROKEN = re.compile("already exists|duplicate column|no such (table|column)|malformed|not a database")
"""What SQLite says of tables that were made in part, and of a file that is none of its own."""

_QUIET_LOGGERS = ("alembic", "mlflow", "sqlalchemy", "git", "urllib3")
_ENVIRONMENT = {
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
"""MLflow prints nothing, and a server that does not answer costs little: what was not sent is tried again in the background."""


def load_library() -> None:
    """Import MLflow, with usage reporting off. It takes seconds, so it is done before anything is locked or timed."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow  # noqa: F401
    for name in _QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def open_store(uri: str) -> "MlflowClient":
    """A client of the store, which answers. A SQLite file that is not there is made.

    Raises:
        PipelineError: a SQLite file that is no whole store; the message says how to go on.
        Exception: whatever MLflow raises for a store that does not answer.
    """
    load_library()
    file = sqlite_file(uri)
    if file is None:
        return _answering(uri)
    file.parent.mkdir(parents=True, exist_ok=True)
    with _turn(file):
        if not file.exists():
            _make(file, uri)
        try:
            return _answering(uri)
        except Exception as error:
            if not _BROKEN.search(str(error)):
                raise
            raise PipelineError(
                f"{file} is no whole store, as a kill, commands at once or another program leave one; "
                f"move it aside, and the next command makes a new one: mv '{file}' '{file}.broken'"
            ) from error


def experiment_of(client: "MlflowClient", uri: str) -> str:
    """The id of the experiment `MLFLOW_EXPERIMENT_NAME`, or `crem`; made where it is missing.

    A local store keeps artifacts beside its file; otherwise they would land in the caller's folder.
    """
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or DEFAULT_EXPERIMENT
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    file = sqlite_file(uri)
    location = None if file is None else (file.parent / "mlflow-artifacts").as_uri()
    with contextlib.suppress(Exception):  # another process may have made it in between: the look-up below decides
        return str(client.create_experiment(name, artifact_location=location))
    found = client.get_experiment_by_name(name)
    if found is None:
        raise PipelineError(f"experiment {name} can be neither found nor made in {redact(uri)}")
    return str(found.experiment_id)


def _answering(uri: str) -> "MlflowClient":
    """A client whose store has answered once. The registry is the same store, or MLflow makes one in the current folder."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    client.search_experiments(max_results=1)
    return client


def _make(file: Path, uri: str) -> None:
    """Make a store aside and give it its place, unless another process that saw no lock was first."""
    aside = file.with_name(f".{file.name}.{uuid.uuid4().hex}.aside")
    scheme = uri.partition(":///")[0]
    try:
        _answering(f"{scheme}:///{aside}")
        try:
            os.link(aside, file)
        except FileExistsError:
            return
        except OSError:  # a file system without hard links
            os.replace(aside, file)
    finally:
        for leftover in file.parent.glob(f"{aside.name}*"):
            leftover.unlink(missing_ok=True)


@contextmanager
def _turn(file: Path) -> Iterator[None]:
    """Wait for this process's turn at a SQLite file. Raises PipelineError when it does not come."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # somebody else's folder, or a read-only one: nothing can be made in it
            lock = stack.enter_context(file.with_name(f".{file.name}.lock").open("w"))
            end = time.monotonic() + LOCK_SECONDS
            while not _takes(lock):
                if time.monotonic() > end:
                    raise PipelineError(f"{lock.name}: held by another command for {LOCK_SECONDS:.0f} s")
                time.sleep(_POLL_SECONDS)
        yield


def _takes(lock: IO[str]) -> bool:
    """Whether the lock is ours now, or the file system has none."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # Lustre mounted without -o flock, for one
        logger.warning(
            "tracking: no locks at %s (%s): start commands that share it one after the other", lock.name, error.strerror
        )
    return True
