"""MLflow's own server on the loopback interface, in this process: for drills, which kill it."""

import os
from pathlib import Path

from pipeline.tracking.store import load_library, open_store


def load_server() -> None:
    """Import all that a client and a server of MLflow need."""
    load_library()
    import mlflow.server
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401


def serve_store(file: Path, port: int) -> None:
    """Serve a SQLite store, made where it is missing, with its artifacts beside it, until the process ends."""
    load_library()
    open_store(f"sqlite:///{file}")
    from mlflow.server import app
    from mlflow.server.constants import (
        ARTIFACT_ROOT_ENV_VAR,
        ARTIFACTS_DESTINATION_ENV_VAR,
        BACKEND_STORE_URI_ENV_VAR,
        SERVE_ARTIFACTS_ENV_VAR,
    )

    os.environ[BACKEND_STORE_URI_ENV_VAR] = f"sqlite:///{file}"
    os.environ[ARTIFACT_ROOT_ENV_VAR] = "mlflow-artifacts:/"
    os.environ[ARTIFACTS_DESTINATION_ENV_VAR] = str(file.parent / "files")
    os.environ[SERVE_ARTIFACTS_ENV_VAR] = "true"
    app.run("127.0.0.1", port, threaded=True)
