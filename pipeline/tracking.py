"""Runs in MLflow: every stage is one, tied by tags to the runs whose outputs it read. Tracking never stops the work.

The default store is one SQLite file in the work folder, with the artifacts beside it; `MLFLOW_TRACKING_URI` names another.
"""

import contextlib
import logging
import math
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from pipeline.errors import PipelineError, StoppedError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

Entry = TypeVar("Entry")
logger = logging.getLogger(__name__)

EXPERIMENT = "crem"
PARENT_TAG = "crem.parent."
_NO_PARENTS: Mapping[str, str] = {}
_QUIET_LOGGERS = ("alembic", "mlflow", "sqlalchemy", "git")
_MAX_PARAM_CHARACTERS = 6000
_MAX_TAG_CHARACTERS = 5000
_MAX_KEY_CHARACTERS = 250
_MAX_PARAMS_PER_CALL = 100
_MAX_METRICS_PER_CALL = 1000
_FLUSH_SECONDS = 5.0
_USER_AND_PASSWORD = re.compile(r"://[^/\s]*@")


class Tracker(Protocol):
    """Where a stage notes what it did. No method raises: a note that cannot be taken is warned of once."""

    run_id: str

    def log_params(self, params: Mapping[str, object]) -> None:
        """Note settings, cut to the store's limits."""

    def log_metrics(self, metrics: Mapping[str, float], *, step: int | None = None) -> None:
        """Note numbers at a step; non-finite ones are left out."""

    def log_artifact(self, path: Path) -> None:
        """Copy a file into the run."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Note short texts that the run is found by."""


class NullTracker:
    """Stands where nothing is to be noted: other ranks, tests, a store that does not answer."""

    run_id = ""

    def log_params(self, params: Mapping[str, object]) -> None:
        """Note nothing."""

    def log_metrics(self, metrics: Mapping[str, float], *, step: int | None = None) -> None:
        """Note nothing."""

    def log_artifact(self, path: Path) -> None:
        """Note nothing."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Note nothing."""


class MlflowTracker:
    """Notes into one MLflow run, in batches; the first failure is warned of, and the work goes on."""

    def __init__(self, client: "MlflowClient", run_id: str) -> None:
        self.run_id = run_id
        self._client = client
        self._has_warned = False
        self._pending: list[Metric] = []
        self._flushed = time.monotonic()

    def log_params(self, params: Mapping[str, object]) -> None:
        """Note settings; nested mappings become dotted names, values are cut to 6,000 characters."""
        from mlflow.entities import Param

        entries = [Param(_key(name), str(value)[:_MAX_PARAM_CHARACTERS]) for name, value in flatten(params).items()]
        for part in _batches(entries, _MAX_PARAMS_PER_CALL):
            self._attempt(partial(self._client.log_batch, self.run_id, params=part))

    def log_metrics(self, metrics: Mapping[str, float], *, step: int | None = None) -> None:
        """Note numbers at a step; non-finite ones are left out, since a database cannot hold them.

        They are sent together, every few seconds: one transaction a step would cost a training step several per cent.
        """
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._pending += [Metric(_key(n), float(value), now, step or 0) for n, value in metrics.items() if math.isfinite(value)]
        if len(self._pending) >= _MAX_METRICS_PER_CALL or time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send the numbers that are still held back."""
        for part in _batches(self._pending, _MAX_METRICS_PER_CALL):
            self._attempt(partial(self._client.log_batch, self.run_id, metrics=part))
        self._pending, self._flushed = [], time.monotonic()

    def log_artifact(self, path: Path) -> None:
        """Copy a file into the run's artifact folder."""
        self._attempt(partial(self._client.log_artifact, self.run_id, str(path)))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Note short texts that the run is found by, cut to 5,000 characters."""
        from mlflow.entities import RunTag

        entries = [RunTag(_key(name), str(value)[:_MAX_TAG_CHARACTERS]) for name, value in tags.items()]
        for part in _batches(entries, _MAX_PARAMS_PER_CALL):
            self._attempt(partial(self._client.log_batch, self.run_id, tags=part))

    def finish(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED."""
        self.flush()
        self._attempt(partial(self._client.set_terminated, self.run_id, status=status))

    def _attempt(self, note: Callable[[], object]) -> None:
        """Take a note. Any failure is the store's, never the stage's."""
        try:
            note()
        except Exception as error:  # noqa: BLE001 (whatever the store raises, the work goes on)
            if not self._has_warned:
                self._has_warned = True
                logger.warning(
                    "tracking: a note was not taken (%s); the run goes on, later failures are not shown", _one_line(error)
                )


@contextmanager
def start_run(
    *,
    uri: str,
    stage: str,
    parents: Mapping[str, str] = _NO_PARENTS,
    tags: Mapping[str, str] = _NO_PARENTS,
) -> Iterator[Tracker]:
    """A run for one stage. `parents` maps a stage's name to the run id whose outputs are read (tags `crem.parent.<stage>`).

    Yields a NullTracker, after one warning, where the store cannot be reached. The run ends FINISHED, FAILED on an error, or
    KILLED on Ctrl-C and termination.
    """
    tracker = _open_run(uri, stage, {"crem.stage": stage, **tags, **{PARENT_TAG + name: run for name, run in parents.items()}})
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


def default_uri(work: Path) -> str:
    """`MLFLOW_TRACKING_URI` where it is set, else SQLite in the work folder. The text can be given to `mlflow ui` as it is."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path(os.path.abspath(work))}/mlflow.db"


def find_run(uri: str, run_id: str) -> dict[str, str]:
    """The tags of a run.

    Raises:
        PipelineError: no such run, or a store that does not answer.
    """
    file = _sqlite_file(uri)
    if file is not None and not file.exists():
        raise PipelineError(f"--run-id {run_id}: there is no run store at {file}; give --work or MLFLOW_TRACKING_URI")
    try:
        return dict(_client(uri).get_run(run_id).data.tags)
    except Exception as error:
        raise PipelineError(
            f"--run-id {run_id}: not found in {redact(uri)} ({_one_line(error)}); list the runs with mlflow ui"
        ) from error


def redact(uri: str) -> str:
    """An address, or a text with addresses in it, without the users and passwords that may stand there."""
    return _USER_AND_PASSWORD.sub("://***@", uri)


def flatten(params: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested mappings as dotted names: `{"a": {"b": 1}}` becomes `{"a.b": 1}`."""
    flat: dict[str, object] = {}
    for name, value in params.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _open_run(uri: str, stage: str, tags: Mapping[str, str]) -> Tracker:
    """A new run, or a NullTracker with one warning."""
    try:
        client = _client(uri)
        run = client.create_run(_experiment(client, uri), run_name=f"{stage} {time.strftime('%Y-%m-%d %H:%M:%S')}")
    except Exception as error:  # noqa: BLE001 (see _attempt)
        logger.warning("tracking: off for this run, %s does not answer (%s)", redact(uri), _one_line(error))
        return NullTracker()
    tracker = MlflowTracker(client, run.info.run_id)
    tracker.set_tags(tags)
    return tracker


def _client(uri: str) -> "MlflowClient":
    """A client of the store, with usage reporting off and the libraries' own log lines silenced.

    The variables must be set before the first import; the registry is the same store, or the library makes a second one in
    the current folder.
    """
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
    file = _sqlite_file(uri)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    for name in _QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    return client


def _experiment(client: "MlflowClient", uri: str) -> str:
    """The experiment's id. A local store keeps artifacts beside its file; otherwise they would land in the caller's folder."""
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    file = _sqlite_file(uri)
    location = None if file is None else (file.parent / "mlflow-artifacts").as_uri()
    with contextlib.suppress(Exception):  # another process may have made it in between: the look-up below decides
        return client.create_experiment(EXPERIMENT, artifact_location=location)
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        raise PipelineError(f"experiment {EXPERIMENT} can be neither found nor made in {redact(uri)}")
    return str(found.experiment_id)


def _sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite store, absolute; None for any other store."""
    scheme, separator, rest = uri.partition(":///")
    return Path(os.path.abspath(rest)) if separator and scheme.startswith("sqlite") else None


def _batches(entries: Sequence[Entry], size: int) -> Iterator[list[Entry]]:
    """The entries in lists of at most `size`: the store refuses larger calls."""
    for start in range(0, len(entries), size):
        yield list(entries[start : start + size])


def _key(name: str) -> str:
    """A name the store accepts: its character set, at most 250 characters."""
    return "".join(letter if letter.isalnum() or letter in "_-. /:" else "_" for letter in name)[:_MAX_KEY_CHARACTERS]


def _one_line(error: Exception) -> str:
    """An error's first line, short enough for a warning."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {redact(lines[0])[:200]}" if lines else type(error).__name__
