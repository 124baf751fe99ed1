"""How a run begins in a store, now or when it is sent later, and how it is found there by either of its ids."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pipeline.tracking.entries import milliseconds
from pipeline.tracking.store import experiment_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PARENT_TAG = "crem.parent."
PARENT_RUN_TAG = "mlflow.parentRunId"
"""By this the MLflow UI shows a run below another."""

KEPT_TAG = "crem.kept_as"
"""The id that a run had before a store knew it: manifests and other runs name it by that."""

_ABSENT = "RESOURCE_DOES_NOT_EXIST"


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """A run as it is made: of which stage, under which name, with which tags, and when (milliseconds since 1970)."""

    stage: str
    name: str
    tags: Mapping[str, str]
    began: int

    @classmethod
    def now(cls, stage: str, tags: Mapping[str, str]) -> "Beginning":
        """One that begins at this moment."""
        return cls(stage=stage, name=f"{stage} {time.strftime('%Y-%m-%d %H:%M:%S')}", tags=tags, began=milliseconds())

    def as_json(self) -> dict[str, Any]:
        """All of it, as plain values."""
        return asdict(self)


def create(client: "MlflowClient", uri: str, beginning: Beginning) -> "Run":
    """Make the run. Raises what MLflow raises."""
    experiment, tags = experiment_of(client, uri), dict(beginning.tags)
    return client.create_run(experiment, start_time=beginning.began, tags=tags, run_name=beginning.name)


def in_store(client: "MlflowClient", run_id: str) -> "Run | None":
    """The run of an id, or of the id that it was kept under; None where the store has none, or only in its bin."""
    try:
        found = client.get_run(run_id)
    except Exception as error:
        if getattr(error, "error_code", "") != _ABSENT:
            raise
        if not run_id.isalnum():
            return None
        experiments = [str(each.experiment_id) for each in client.search_experiments()]
        return next(iter(client.search_runs(experiments, f"tags.`{KEPT_TAG}` = '{run_id}'", max_results=1)), None)
    return found if found.info.lifecycle_stage == "active" else None
