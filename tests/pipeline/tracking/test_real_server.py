"""A real MLflow server on loopback that is killed, started again and stopped in mid-answer while a run is noted."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.tracking import UNSENT, Tracker, find_run, register, start_run, sync
from pipeline.tracking.store import load_library, open_store

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 600


class Server:
    """`mlflow server` with a store of its own, which outlives it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, unless it runs."""
        if self._process is not None:
            return
        command = ["-m", "mlflow", "server", "--port", str(self.port), "--workers", "1"]
        command += [
            "--backend-store-uri",
            f"sqlite:///{self.place}/server.db",
            "--artifacts-destination",
            str(self.place / "files"),
        ]
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.place / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *command], stdout=log, stderr=log, env=environment, start_new_session=True
            )
        end = time.monotonic() + PATIENCE_SECONDS
        while not self._is_up():
            if time.monotonic() > end:
                self.kill()
                pytest.fail((self.place / "server.log").read_text()[-2000:])
            time.sleep(0.1)

    def _is_up(self) -> bool:
        try:
            return bool(urllib.request.urlopen(f"{self.uri}/health", timeout=2).status == 200)
        except OSError:
            return False

    def signal(self, number: int) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, number)

    def kill(self) -> None:
        if self._process is not None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


@pytest.fixture(scope="module")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    served = Server(tmp_path_factory.mktemp("server"))
    load_library()
    yield served
    served.kill()


@pytest.fixture
def server(one_server: Server) -> Server:
    """A server that runs: to start one takes seconds, so the next test has the one that the last one left."""
    one_server.start()
    return one_server


def train(tracker: Tracker, steps: range) -> float:
    """Note steps; returns the longest that one took."""
    longest = 0.0
    for step in steps:
        begun = time.monotonic()
        tracker.log_metrics({"train/loss": step / 8}, step=step)
        tracker.flush()  # type: ignore[attr-defined]
        longest = max(longest, time.monotonic() - begun)
        time.sleep(0.01)
    return longest


def steps_of(uri: str, run_id: str) -> list[int]:
    return sorted(metric.step for metric in open_store(uri).get_metric_history(run_id, "train/loss"))


def test_a_server_that_is_killed_and_started_again_has_every_step(server: Server, tmp_path: Path) -> None:
    with start_run(uri=server.uri, stage="train", keep=tmp_path / UNSENT) as tracker:
        slowest = [train(tracker, range(1, 50))]
        server.kill()
        slowest.append(train(tracker, range(50, 150)))
        server.start()
        slowest.append(train(tracker, range(150, 200)))
    assert max(slowest) < 0.5, "no step waits for a server"
    list(sync(tmp_path, server.uri))
    assert steps_of(server.uri, tracker.run_id) == list(range(1, 200))


def test_what_a_server_that_stays_away_did_not_take_is_sent_later_and_found_by_either_id(server: Server, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("page")
    with start_run(uri=server.uri, stage="train", keep=tmp_path / UNSENT) as first:
        train(first, range(1, 10))
        server.kill()
        train(first, range(10, 20))
        first.log_artifact(tmp_path / "page.html")
        begun = time.monotonic()
    assert time.monotonic() - begun < 25
    with start_run(uri=server.uri, stage="evaluate", keep=tmp_path / UNSENT, parents={"train": first.run_id}) as second:
        second.log_metrics({"hit": 0.5})
    server.start()
    sent = {each.run_id for each in sync(tmp_path, server.uri)}
    assert first.run_id in sent and len(sent) == 2 and second.run_id not in sent
    assert steps_of(server.uri, first.run_id) == list(range(1, 20))
    client = open_store(server.uri)
    assert client.get_run(first.run_id).info.status == "FINISHED"
    assert [item.path for item in client.list_artifacts(first.run_id)] == ["page.html"]
    assert find_run(server.uri, second.run_id)["crem.parent.train"] == first.run_id
    assert register(server.uri, "crem", tmp_path, run_id=first.run_id, tags={}) == "1"


def test_a_server_that_takes_calls_and_never_answers_holds_up_no_step(server: Server, tmp_path: Path) -> None:
    with start_run(uri=server.uri, stage="train", keep=tmp_path / UNSENT) as tracker:
        train(tracker, range(1, 10))
        server.signal(signal.SIGSTOP)
        assert train(tracker, range(10, 100)) < 0.5
        begun = time.monotonic()
    assert time.monotonic() - begun < 25
    server.signal(signal.SIGCONT)
    list(sync(tmp_path, server.uri))
    assert steps_of(server.uri, tracker.run_id) == list(range(1, 100))
