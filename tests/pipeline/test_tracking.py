"""Runs in a real SQLite store: what is found in it afterwards, and that a failing store never stops the work."""

import logging
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline import tracking
from pipeline.errors import PipelineError, StoppedError
from pipeline.tracking import NullTracker, Tracker, default_uri, find_run, flatten, redact, start_run


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One store for the module: making its tables takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('tracking')}/sub/mlflow.db"


def run_of(store: str, run_id: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=store, registry_uri=store).get_run(run_id)


def test_a_run_keeps_params_metrics_artifacts_and_parents(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "note.txt").write_text("hello")
    tags = {"crem.output": "/somewhere"}
    with start_run(uri=store, stage="train", parents={"convert": "run-1", "model": "run-2"}, tags=tags) as tracker:
        tracker.log_params({"a": {"b": 1}, "long": "x" * 10_000, **{f"p{n}": n for n in range(250)}})
        tracker.log_metrics({"loss": 0.5, "bad": float("nan")}, step=7)
        tracker.log_metrics({f"m{n}": n for n in range(2500)})
        tracker.log_artifact(tmp_path / "note.txt")
    run = run_of(store, tracker.run_id)
    assert (run.info.status, run.info.run_name.split()[0]) == ("FINISHED", "train")
    assert (run.data.params["a.b"], len(run.data.params["long"]), len(run.data.params)) == ("1", 6000, 252)
    assert run.data.metrics["loss"] == 0.5
    assert "bad" not in run.data.metrics
    assert len(run.data.metrics) == 2501
    found = find_run(store, tracker.run_id)
    assert {name: found[name] for name in found if name.startswith("crem.")} == {
        "crem.stage": "train",
        "crem.parent.convert": "run-1",
        "crem.parent.model": "run-2",
        "crem.output": "/somewhere",
    }
    artifact = Path(run.info.artifact_uri.removeprefix("file://")) / "note.txt"
    assert artifact.read_text() == "hello"
    assert artifact.is_relative_to(Path(store.removeprefix("sqlite:///")).parent), "artifacts lie beside the store"
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"], "nothing is written to the current folder"


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED"), (StoppedError, "KILLED")])
def test_a_run_that_fails_says_so(store: str, error: type[BaseException], status: str) -> None:
    seen: list[Tracker] = []
    with pytest.raises(error), start_run(uri=store, stage="toy") as tracker:
        seen.append(tracker)
        raise error
    assert run_of(store, seen[0].run_id).info.status == status


def test_an_unreachable_store_warns_once_and_the_work_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"this is no database" * 100)
    with start_run(uri=f"sqlite:///{tmp_path}/mlflow.db", stage="toy") as tracker:
        assert isinstance(tracker, NullTracker)
        tracker.log_params({"a": 1})
        tracker.log_metrics({"b": 2.0})
        tracker.log_artifact(tmp_path / "absent")
    assert [record.levelname for record in caplog.records if record.name == tracking.__name__] == ["WARNING"]


def test_a_store_that_breaks_on_the_way_warns_once(tmp_path: Path, store: str, caplog: pytest.LogCaptureFixture) -> None:
    with start_run(uri=store, stage="toy") as tracker:
        for _ in range(3):
            tracker.log_artifact(tmp_path / "there is no such file")
        tracker.log_metrics({"still": 1.0})
    assert len([record for record in caplog.records if record.name == tracking.__name__]) == 1
    assert run_of(store, tracker.run_id).data.metrics == {"still": 1.0}


def test_find_run_of_an_unknown_id_is_one_line(store: str, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"--run-id abc: not found in sqlite") as caught:
        find_run(store, "abc")
    assert "\n" not in str(caught.value)
    absent = tmp_path / "none" / "mlflow.db"
    with pytest.raises(PipelineError, match="no run store"):
        find_run(f"sqlite:///{absent}", "abc")
    assert not absent.parent.exists(), "looking makes no store"


def test_default_uri_is_absolute_unless_the_environment_names_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert default_uri(Path("work")) == f"sqlite:///{tmp_path}/work/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://tracker")
    assert default_uri(Path("work")) == "https://tracker"


def test_small_forms() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": []}, "e": {}}) == {"a.b.c": 1, "a.d": [], "e": {}}
    assert redact("postgresql://me:secret@host/db") == "postgresql://***@host/db"
    assert redact("sqlite:////a@b/mlflow.db") == "sqlite:////a@b/mlflow.db"
    assert redact("request to https://me:p@ss@host/api failed") == "request to https://***@host/api failed"


def test_nothing_is_printed_or_reported(tmp_path: Path) -> None:
    program = f"""
import logging, os
logging.basicConfig(level=logging.INFO)
from pipeline.tracking import start_run
with start_run(uri="sqlite:///{tmp_path}/mlflow.db", stage="toy") as tracker:
    tracker.log_metrics({{"a": 1.0}})
from mlflow.telemetry.client import get_telemetry_client
assert get_telemetry_client() is None
assert os.environ["DO_NOT_TRACK"] == "true"
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        assert database.execute("select count(*) from metrics").fetchone() == (1,)


def test_logging_of_the_root_is_left_alone(store: str) -> None:
    level = logging.getLogger().level
    with start_run(uri=store, stage="toy"):
        assert logging.getLogger().level == level
