"""One store for all tests of tracking: making its tables takes seconds."""

import pytest


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a SQLite store in a folder that is not there yet."""
    return f"sqlite:///{tmp_path_factory.mktemp('tracking')}/sub/mlflow.db"
