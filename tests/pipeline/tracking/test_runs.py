"""Runs in a real SQLite store: what is found in it afterwards, and that a failing store never stops the work."""

import logging
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import PipelineError, StoppedError
from pipeline.tracking import NullTracker, Tracker, default_uri, find_run, redact, start_run


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("pipeline.tracking")]


def run_of(store: str, run_id: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=store, registry_uri=store).get_run(run_id)


def steps_of(store: str, run_id: str, key: str) -> list[tuple[int, float]]:
    from mlflow import MlflowClient

    history = MlflowClient(tracking_uri=store, registry_uri=store).get_metric_history(run_id, key)
    return [(metric.step, metric.value) for metric in history]


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
    assert {name: found[name] for name in ("crem.stage", *(name for name in found if "parent" in name), "crem.output")} == {
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
    (said,) = warnings(caplog)
    assert "off for crem toy, whose work no --run-id will name" in said
    assert "is no whole store" in said
    assert said.endswith(
        f"move it aside, and the next command makes a new one: mv '{tmp_path}/mlflow.db' '{tmp_path}/mlflow.db.broken')"
    )


def test_a_store_that_breaks_on_the_way_warns_once(tmp_path: Path, store: str, caplog: pytest.LogCaptureFixture) -> None:
    with start_run(uri=store, stage="toy") as tracker:
        for _ in range(3):
            tracker.log_artifact(tmp_path / "there is no such file")
        tracker.log_metrics({"still": 1.0})
    assert len(warnings(caplog)) == 1
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


def test_no_secret_is_shown() -> None:
    assert redact("postgresql://me:secret@host/db") == "postgresql://***@host/db"
    assert redact("sqlite:////a@b/mlflow.db") == "sqlite:////a@b/mlflow.db"
    assert redact("request to https://me:p@ss@host/api failed") == "request to https://***@host/api failed"
    assert redact("https://host/x?a=1&api_key=k1&Token=k2 z") == "https://host/x?a=1&api_key=***&Token=*** z"


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


def cut_off(store: str, steps: range) -> str:
    """A run that a signal stopped after it had noted some steps."""
    with pytest.raises(StoppedError), start_run(uri=store, stage="train", parents={"convert": "run-1"}) as tracker:
        tracker.log_params({"rate": 0.1, "ranks": 2})
        for step in steps:
            tracker.log_metrics({"train/loss": step / 8}, step=step)
        raise StoppedError
    return tracker.run_id


def test_a_run_that_was_cut_off_goes_on_without_the_steps_it_has(store: str, caplog: pytest.LogCaptureFixture) -> None:
    """Steps 1 to 6 were noted, the last checkpoint is of step 4: steps 5 and 6 are trained and noted again."""
    before = cut_off(store, range(1, 7))
    with start_run(uri=store, stage="train", parents={"convert": "run-2"}, reopen=before) as tracker:
        assert (tracker.run_id, run_of(store, before).info.status) == (before, "RUNNING")
        tracker.log_params({"rate": 0.1, "ranks": 4, "new": 1})
        for step in range(5, 9):
            tracker.log_metrics({"train/loss": step / 8 + 0.001 * (step < 7), "train/new": 1.0}, step=step)
        tracker.log_metrics({"seconds": 3.0})
    run = run_of(store, before)
    assert run.info.status == "FINISHED"
    assert steps_of(store, before, "train/loss") == [(step, step / 8) for step in range(1, 9)]
    assert [step for step, _ in steps_of(store, before, "train/new")] == [5, 6, 7, 8]
    assert run.data.metrics["seconds"] == 3.0
    assert run.data.params == {"rate": "0.1", "ranks": "2", "new": "1"}, "the store changes no parameter"
    assert run.data.tags["crem.changed.ranks"] == "4"
    assert run.data.tags["crem.parent.convert"] == "run-2"
    assert warnings(caplog) == []


def test_a_run_that_the_store_has_no_more_is_replaced_and_that_is_said(store: str, caplog: pytest.LogCaptureFixture) -> None:
    from mlflow import MlflowClient

    binned = cut_off(store, range(1, 2))
    MlflowClient(tracking_uri=store, registry_uri=store).delete_run(binned)
    for gone in ("0" * 32, binned):
        with start_run(uri=store, stage="train", reopen=gone) as tracker:
            assert tracker.run_id not in ("", gone)
        assert f"run {gone} is no longer in" in warnings(caplog)[-1]


def test_logging_of_the_root_is_left_alone(store: str) -> None:
    level = logging.getLogger().level
    with start_run(uri=store, stage="toy"):
        assert logging.getLogger().level == level
