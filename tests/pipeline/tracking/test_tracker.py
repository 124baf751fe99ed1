"""Numbers on their way through an outage, against a store that keeps what it is given in a list."""

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.tracking.store import load_library
from pipeline.tracking.tracker import MlflowTracker


class RefusedError(Exception):
    """As MLflow refuses what it can never take."""

    error_code = "INVALID_PARAMETER_VALUE"


class AwayError(Exception):
    """As MLflow reports a server that is down."""

    error_code = "INTERNAL_ERROR"


class Store:
    """Takes calls, or raises what it is told to first."""

    def __init__(self, errors: Iterator[Exception]) -> None:
        self.errors, self.calls = errors, list[list[tuple[str, int]]]()
        self.status = ""

    def log_batch(self, run_id: str, metrics: Sequence[Any] = (), params: object = (), tags: object = ()) -> None:
        for error in self.errors:
            raise error
        if metrics:
            self.calls.append([(metric.key, metric.step) for metric in metrics])

    def set_terminated(self, run_id: str, status: str) -> None:
        self.status = status


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    load_library()
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    return SimpleNamespace(info=SimpleNamespace(run_id="1", start_time=0), data=SimpleNamespace(params={}))


def test_what_waited_for_a_store_arrives_in_few_calls(run: Any) -> None:
    """The store is away for the first two attempts; 1,500 numbers wait by then."""
    store = Store(iter([AwayError(), AwayError()]))
    tracker = MlflowTracker(store, run)  # type: ignore[arg-type]
    for step in range(1, 501):
        tracker.log_metrics({"a": 1.0, "b": 2.0, "c": 3.0}, step=step)
        tracker.flush()
    tracker.finish("FINISHED")
    arrived = [entry for call in store.calls for entry in call]
    assert arrived == [(key, step) for step in range(1, 501) for key in "abc"]
    assert len(store.calls) <= 3 and all(len(call) <= 1000 for call in store.calls)
    assert store.status == "FINISHED"


def test_numbers_that_a_store_refuses_cost_no_others(run: Any) -> None:
    store = Store(iter([RefusedError("bad")]))
    tracker = MlflowTracker(store, run)  # type: ignore[arg-type]
    tracker.log_metrics({"bad": 1.0}, step=1)
    tracker.flush()
    tracker._sender.wait(5)
    tracker.log_metrics({"good": 1.0}, step=2)
    tracker.finish("FINISHED")
    assert store.calls == [[("good", 2)]]
