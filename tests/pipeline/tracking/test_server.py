"""Runs on a server, here one that answers as MLflow's does: what it is sent, and that nothing of it is printed."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from pipeline.tracking import start_run

EXPERIMENT = {"experiment_id": "1", "name": "crem", "artifact_location": "mlflow-artifacts:/1", "lifecycle_stage": "active"}
RUN = {
    "info": {"run_id": "a1", "experiment_id": "1", "status": "RUNNING", "start_time": 1, "lifecycle_stage": "active"},
    "data": {},
}
ANSWERS = {
    "experiments/search": {"experiments": [EXPERIMENT]},
    "experiments/get-by-name": {"experiment": EXPERIMENT},
    "runs/create": {"run": RUN},
    "runs/get": {"run": RUN},
    "runs/update": {"run_info": RUN["info"]},
    "runs/log-batch": {},
}


@pytest.fixture
def server() -> Iterator[tuple[str, list[tuple[str, dict[str, Any]]]]]:
    """The address of a server, and what it is asked to do."""
    asked: list[tuple[str, dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.partition("/mlflow/")[2].partition("?")[0]
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if body:
                asked.append((name, json.loads(body)))
            answer = json.dumps(ANSWERS.get(name, {})).encode()
            self.send_response(200 if name in ANSWERS else 404)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def do_POST(self) -> None:
            self.do_GET()

        def log_request(self, *of: object) -> None: ...

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}", asked
    served.shutdown()
    served.server_close()


def test_a_server_is_told_everything_and_nothing_is_printed(
    server: tuple[str, list[tuple[str, dict[str, Any]]]], capfd: pytest.CaptureFixture[str]
) -> None:
    uri, asked = server
    with start_run(uri=uri, stage="train") as tracker:
        tracker.log_metrics({"train/loss": 0.5}, step=3)
    batches = [told for name, told in asked if name == "runs/log-batch"]
    assert [(metric["key"], metric["value"], metric["step"]) for told in batches for metric in told["metrics"]] == [
        ("train/loss", 0.5, 3)
    ]
    assert [told["status"] for name, told in asked if name == "runs/update"] == ["FINISHED"]
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")
