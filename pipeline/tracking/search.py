"""Runs that a store already holds, with what they noted: for reports. Nothing is written."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import PipelineError
from pipeline.tracking.address import one_line, redact, sqlite_file
from pipeline.tracking.store import open_store

if TYPE_CHECKING:
    from mlflow.entities import Run

_FINISHED = "FINISHED"
_PER_CALL = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedRun:
    """A run as the store has it: of each metric the last value, settings by dotted names, tags."""

    run_id: str
    status: str
    metrics: Mapping[str, float]
    params: Mapping[str, str]
    tags: Mapping[str, str]


def tracked_run(uri: str, run_id: str) -> TrackedRun:
    """A run by its id. Raises PipelineError where the store has none such, or does not answer."""
    _refuse_absent(uri, f"--run-id {run_id}")
    try:
        return _of(open_store(uri).get_run(run_id))
    except Exception as error:
        raise PipelineError(
            f"--run-id {run_id}: not found in {redact(uri)} ({one_line(error)}); list the runs with mlflow ui"
        ) from error


def finished_runs(uri: str, tags: Mapping[str, str]) -> list[TrackedRun]:
    """The finished runs of all experiments with these tags, the newest first. Raises PipelineError as `tracked_run`."""
    _refuse_absent(uri, "runs")
    try:
        quoted = [f"tags.`{name}` = '{_plain(value)}'" for name, value in tags.items()]
        asked = " and ".join([f"attributes.status = '{_FINISHED}'", *quoted])
        client = open_store(uri)
        places = [str(each.experiment_id) for each in client.search_experiments()]
        found: list[Run] = []
        token = None
        while True:
            page = client.search_runs(
                places, asked, max_results=_PER_CALL, order_by=["attributes.start_time DESC"], page_token=token
            )
            found += page
            token = page.token
            if not token:
                return [_of(run) for run in found]
    except Exception as error:
        raise PipelineError(f"{redact(uri)}: cannot be searched for runs ({one_line(error)})") from error


def _refuse_absent(uri: str, wanted: str) -> None:
    """Raise PipelineError for a SQLite file that is not there: opening it would make it."""
    file = sqlite_file(uri)
    if file is not None and not file.exists():
        raise PipelineError(f"{wanted}: there is no run store at {file}; give --work or MLFLOW_TRACKING_URI")


def _plain(value: str) -> str:
    """A value that can stand in a search's quotes. Raises ValueError for one that would end them."""
    if "'" in value or "\\" in value:
        raise ValueError(f"{value!r} cannot be searched for")
    return value


def _of(run: "Run") -> TrackedRun:
    return TrackedRun(
        run_id=str(run.info.run_id),
        status=str(run.info.status),
        metrics=dict(run.data.metrics),
        params=dict(run.data.params),
        tags=dict(run.data.tags),
    )


def is_on_toy_world(tags: Mapping[str, str]) -> bool:
    """Whether a run read the toy world of its work folder and no corpus."""
    work, data = tags.get("crem.work", ""), tags.get("crem.data", "")
    return bool(work) and Path(data) == Path(work) / "toy"
