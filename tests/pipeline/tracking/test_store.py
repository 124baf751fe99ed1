"""SQLite stores that several commands open at once, that a kill or an earlier version left half made, or that are locked."""

import fcntl
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.errors import PipelineError
from pipeline.tracking import NullTracker, start_run
from pipeline.tracking import store as stores

STARTER = """
import logging, sys, time
from pathlib import Path
from pipeline.tracking import start_run
from pipeline.tracking.store import load_library
logging.basicConfig()
load_library()
place, number = Path(sys.argv[1]), int(sys.argv[2])
(place / f"ready{number}").touch()
while not (place / "go").exists():
    time.sleep(0.01)
with start_run(uri=f"sqlite:///{place}/mlflow.db", stage="toy") as tracker:
    for step in range(1, 4):
        tracker.log_metrics({f"m{n}": float(number) for n in range(200)}, step=step)
        tracker.flush()
    tracker.log_params({f"p{n}": number for n in range(300)})
print(tracker.run_id)
"""


def test_four_commands_that_start_together_on_a_new_store_are_all_tracked(tmp_path: Path) -> None:
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", STARTER, str(tmp_path), str(number)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for number in range(4)
    ]
    while len(list(tmp_path.glob("ready*"))) < 4 and all(starter.poll() is None for starter in starters):
        time.sleep(0.01)
    (tmp_path / "go").touch()
    said = [starter.communicate() for starter in starters]
    assert [errors for _, errors in said] == [""] * 4
    run_ids = [words.strip() for words, _ in said]
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        ended = dict(database.execute("select run_uuid, status from runs").fetchall())
        numbers = database.execute("select run_uuid, min(value), max(value), count(*) from metrics group by run_uuid").fetchall()
        params = dict(database.execute("select run_uuid, count(*) from params group by run_uuid").fetchall())
        experiments = database.execute("select count(*) from experiments where name = 'crem'").fetchone()
    assert ended == dict.fromkeys(run_ids, "FINISHED") and len(ended) == 4
    assert sorted(numbers) == sorted((run, float(number), float(number), 600) for number, run in enumerate(run_ids))
    assert params == dict.fromkeys(run_ids, 300)
    assert experiments == (1,)
    assert not list(tmp_path.glob("*.aside*")) and not list(tmp_path.glob(".*.aside*"))


def test_a_store_that_another_process_made_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are no locks, two make one each."""
    file = tmp_path / "mlflow.db"

    def make(uri: str) -> None:
        Path(uri.removeprefix("sqlite:///")).write_text("ours")
        file.write_text("theirs")

    monkeypatch.setattr(stores, "_answering", make)
    stores._make(file, f"sqlite:///{file}")
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"] and file.read_text() == "theirs"


def test_a_store_whose_making_fails_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(uri: str) -> None:
        Path(uri.removeprefix("sqlite:///")).write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(stores, "_answering", make)
    with pytest.raises(OSError, match="disk full"):
        stores._make(tmp_path / "mlflow.db", f"sqlite:///{tmp_path}/mlflow.db")
    assert list(tmp_path.iterdir()) == []


def test_an_opening_waits_its_turn_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stores, "LOCK_SECONDS", 0.3)
    with (tmp_path / ".mlflow.db.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with start_run(uri=f"sqlite:///{tmp_path}/mlflow.db", stage="toy") as tracker:
            assert isinstance(tracker, NullTracker)
    assert ".mlflow.db.lock: held by another command" in caplog.text
    assert not (tmp_path / "mlflow.db").exists()


def test_where_there_are_no_locks_that_is_said_and_the_run_is_tracked(
    store: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*given: object) -> None:
        raise OSError(38, os.strerror(38))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with start_run(uri=store, stage="toy") as tracker:
        assert tracker.run_id
    assert "(Function not implemented): start commands that share it one after the other" in caplog.text


def test_a_store_left_half_made_says_how_to_mend_it_each_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As four commands at once left it until now: with the table of a migration that was cut off."""
    file = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(file)) as database:
        database.execute("create table _alembic_tmp_latest_metrics (key text)")
        database.commit()
    for _ in range(2):
        caplog.clear()
        with start_run(uri=f"sqlite:///{file}", stage="toy") as tracker:
            assert isinstance(tracker, NullTracker)
        (said,) = caplog.messages
        assert "whose work no --run-id will name" in said
        assert "is no whole store" in said and f"mv '{file}' '{file}.broken'" in said


def test_a_locked_store_is_not_called_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(uri: str) -> None:
        raise sqlite3.OperationalError("database is locked")

    (tmp_path / "mlflow.db").touch()
    monkeypatch.setattr(stores, "_answering", locked)
    with pytest.raises(sqlite3.OperationalError, match="is locked"):
        stores.open_store(f"sqlite:///{tmp_path}/mlflow.db")


def test_the_environment_names_the_experiment(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = stores.open_store(store)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "ablations of July")
    with start_run(uri=store, stage="toy") as tracker:
        found = client.get_experiment(client.get_run(tracker.run_id).info.experiment_id)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    with start_run(uri=store, stage="toy") as other:
        usual = client.get_experiment(client.get_run(other.run_id).info.experiment_id)
    assert (found.name, usual.name) == ("ablations of July", "crem")
    assert found.artifact_location == usual.artifact_location


def test_a_store_in_a_folder_that_nobody_may_write_is_asked_all_the_same(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    def refuse(path: Path, mode: str = "r") -> object:
        if path.name.endswith(".lock"):
            raise OSError(30, "Read-only file system")
        return opened(path, mode)

    stores.open_store(store)
    monkeypatch.setattr(Path, "open", refuse)
    assert stores.open_store(store).search_experiments(max_results=1)


def test_an_experiment_that_cannot_be_made_is_one_line() -> None:
    class Closed:
        def get_experiment_by_name(self, name: str) -> None: ...

        def create_experiment(self, name: str, artifact_location: str | None) -> str:
            raise ValueError("no rights")

    with pytest.raises(PipelineError, match=r"experiment crem can be neither found nor made in https://\*\*\*@host"):
        stores.experiment_of(Closed(), "https://me:pw@host")  # type: ignore[arg-type]
