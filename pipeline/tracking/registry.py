"""A trained model as a version of a registered one, where its user asks for that."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import PipelineError
from pipeline.manifest import tree_digest
from pipeline.tracking.address import one_line, redact
from pipeline.tracking.beginning import in_store
from pipeline.tracking.store import open_store

if TYPE_CHECKING:
    from mlflow import MlflowClient

CONTENT_TAG = "crem.content"
"""Of a version: the sha256 over its files, so that the same files are told from others of the same name."""

_EXISTS = "RESOURCE_ALREADY_EXISTS"


def register(uri: str, name: str, folder: Path, *, run_id: str, tags: Mapping[str, str]) -> str:
    """Copy a folder among the artifacts of the run that trained it, and make it the next version of model `name`.

    Returns the version's number. Raises PipelineError where the store refuses or does not answer: nothing is registered then.
    """
    try:
        client = open_store(uri)
        run = in_store(client, run_id)
        if run is None:
            raise PipelineError(f"run {run_id} is not in this store; send it there first (crem sync), or name its --run-id")
        content = tree_digest(folder)
        place = f"exported/{content[:12]}"
        client.log_artifacts(run.info.run_id, str(folder), artifact_path=place)
        _make_model(client, name)
        source = f"{run.info.artifact_uri}/{place}"
        made = client.create_model_version(name, source, run.info.run_id, tags={**tags, CONTENT_TAG: content})
    except Exception as error:
        raise PipelineError(f"--register {name}: {redact(uri)} did not take it ({one_line(error)}); {folder} stays") from error
    return str(made.version)


def _make_model(client: "MlflowClient", name: str) -> None:
    try:
        client.create_registered_model(name)
    except Exception as error:
        if getattr(error, "error_code", "") != _EXISTS:
            raise
